"""What a job of Azure Machine Learning runs: inputs by digest, results stored before events."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from targets.systems.azureml import in_job

PIPELINE = """\
import hashlib, json, os, sys
from pathlib import Path

roots = dict(word.split("=", 1) for word in sys.argv if "=" in word and word[0] != "-")
key = "a" * 64
step = Path(roots["work"]) / key
(step / "output").mkdir(parents=True)
content = Path(roots["data"], "rows", "rows.txt").read_bytes() + str(sorted(os.environ)).encode()
(step / "output" / "made").write_bytes(content)
made = {"path": "made", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
(step / "result.json").write_text(json.dumps({"files": [made]}))
print(json.dumps({"event": "finished", "step": "one", "seconds": 1, "peak_rss_bytes": 1}))
print("said", file=sys.stderr)
sys.exit(3)
"""


EMPTY = hashlib.sha256(b"").hexdigest()


class Place:
    """The folders that the service would mount."""

    def __init__(self, folder: Path) -> None:
        self.blobs, self.made = folder / "blobs", folder / "made"
        self.blobs.mkdir()
        self.made.mkdir()
        self.put(b"")

    def put(self, content: bytes, name: str = "") -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        place = self.blobs / (name or sha256)[:2] / (name or sha256)
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(content)
        return name or sha256

    def run(self, task: dict[str, Any], **more: str) -> subprocess.CompletedProcess[str]:
        digest = self.put(json.dumps(task).encode())
        folders = map(str, (self.blobs, self.made, self.blobs))
        return subprocess.run(
            [sys.executable, in_job.__file__, *folders, digest],
            env={"PATH": "/bin:/usr/bin", "AZUREML_RUN_TOKEN": "secret", **more},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def task_of(code: str, rows: str, machines: int = 1) -> dict[str, Any]:
    return {
        "plan": {"steps": [{"name": "one", "key": "a" * 64}]},
        "environment": {"LANG": "C.UTF-8"},
        "inputs": [
            {
                "root": in_job.CODE,
                "path": "pipeline",
                "files": [["__init__.py", EMPTY], ["__main__.py", code]],
            },
            {"root": "data", "path": "rows", "files": [["rows.txt", rows]]},
        ],
        "keyvault": "",
        "machines": machines,
    }


def test_results_are_stored_by_digest_and_how_it_ended(place: Place) -> None:
    ran = place.run(task_of(place.put(PIPELINE.encode()), place.put(b"rows ")))
    assert ran.returncode == 3, ran.stderr
    assert json.loads(ran.stdout)["event"] == "finished"
    ended = json.loads((place.made / "ended.json").read_text())
    assert ended == {"exit_code": 3, "failed": {}}
    assert (place.made / "log").read_text() == "said\n"
    (file,) = json.loads((place.made / ("a" * 64) / "result.json").read_text())["files"]
    made = (place.blobs / file["sha256"][:2] / file["sha256"]).read_bytes()
    assert hashlib.sha256(made).hexdigest() == file["sha256"]
    assert made.startswith(b"rows ")
    assert b"AZUREML_RUN_TOKEN" not in made  # what a step sees


SHARED = """\
import json, os, sys
print(json.dumps({"event": "failed", "step": "one", "message": os.environ["QUERN_MACHINE"]}))
sys.exit(1)
"""


def test_another_machine_of_a_job_leaves_only_how_it_ended(place: Place) -> None:
    meeting = {"NODE_RANK": "1", "MASTER_ADDR": "10.0.0.4", "MASTER_PORT": "6105"}
    ran = place.run(task_of(place.put(SHARED.encode()), place.put(b"rows "), 2), **meeting)
    assert ran.returncode == 1, ran.stderr
    assert sorted(file.name for file in place.made.iterdir()) == ["ended-1.json", "log-1"]
    ended = json.loads((place.made / "ended-1.json").read_text())
    assert ended["exit_code"] == 1
    assert ended["failed"]["message"] == "1/2@10.0.0.4:6105"


def test_a_service_that_does_not_say_where_machines_meet(place: Place) -> None:
    task = task_of(place.put(SHARED.encode()), place.put(b"rows "), 2)
    ran = place.run(task, NODE_RANK="1", MASTER_ADDR="10.0.0.4")
    assert ran.returncode == 1
    assert "does not say where machines meet" in ran.stderr
    assert "MASTER_PORT" in ran.stderr


def test_an_input_that_is_not_what_its_name_says_is_refused(place: Place) -> None:
    code = place.put(PIPELINE.encode())
    other = place.put(b"other bytes", name="b" * 64)
    ran = place.run(task_of(code, other))
    assert ran.returncode == 1
    assert f"the blob {'b' * 64} has other bytes than its name says" in ran.stderr
    assert not (place.made / "ended.json").exists()
