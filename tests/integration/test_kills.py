"""A build that is killed outright, again and again, at one moment after the other."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pipeline.contract.plan import OUTPUT_DIR, object_path
from pipeline.contract.result import RESULT_FILE, StepResult
from targets.cli.options import PROJECT
from tests.support.command import Quern
from tests.support.quick_builds import quick_project, report_of

MOMENTS = (
    ("", 0.3),  # while it plans
    ("merge ...", 0.0),
    ("merge ...", 0.2),
    ("model_builder ...", 0.0),
    ("model_builder ...", 0.4),
    ("✓ model_builder", 0.0),
    ("✓ size", 0.0),  # the last step: what it left is published and linked
)
"""What a build says last before it is killed, and how many seconds later that is."""


class Build:
    """A build in the background that can be killed with all that it started."""

    def __init__(self, quern: Quern, *arguments: str) -> None:
        self._process = subprocess.Popen(
            quern.command("build", *arguments),
            cwd=PROJECT,
            env={**quern.environment(), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def kill_after(self, said: str, seconds: float) -> bool:
        """Kill it that long after it said so; return whether it was still at work."""
        assert self._process.stdout is not None
        lines = (line for line in self._process.stdout if "cached" not in line)
        if said and not any(line.startswith(said) for line in lines):
            return self._process.wait() < 0
        time.sleep(seconds)
        own = psutil.Process(self._process.pid)
        with suppress(psutil.NoSuchProcess):
            for process in (own, *own.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self._process.stdout.close()
        return self._process.wait() < 0


@pytest.fixture
def resumable(quern: Quern, toolchain_python: Path, tmp_path: Path) -> Iterator[Quern]:
    """Yield a cache with the toolchain of the others and no results."""
    assert toolchain_python.exists()
    fresh = tmp_path / "cache"
    fresh.mkdir()
    for name in ("wheels", "venvs"):
        (fresh / name).symlink_to(quern.cache / name)
    yield Quern(fresh)


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of every file below ``folder`` by its path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def assert_whole(cache: Path) -> int:
    """Return how many results are in the cache, each with all its bytes and nothing else."""
    found = list((cache / "objects").glob("*/*"))
    for step in found:
        result = StepResult.model_validate_json((step / RESULT_FILE).read_bytes())
        assert result.key == step.name
        assert digests(step / OUTPUT_DIR) == {file.path: file.sha256 for file in result.files}
    return len(found)


@pytest.mark.slow
def test_no_moment_leaves_a_broken_result(quern: Quern, resumable: Quern, tmp_path: Path) -> None:
    # As of `test_build.py`, in whose cache it may be there already.
    project = quick_project(tmp_path / "project", seed=2)
    arguments = ("--config", str(project.config), "--runtime", "venv")
    ignoring_signals, dist = tmp_path / "undisturbed", tmp_path / "dist"
    assert quern("build", *arguments, "--dist", str(ignoring_signals)).code == 0
    keys = {step["name"]: step["key"] for step in report_of(ignoring_signals)["passes"]}
    kept = {"pretrain", "lora"}
    for name in kept:
        place = object_path(keys[name])
        shutil.copytree(quern.cache / "objects" / place, resumable.cache / "objects" / place)
    # What lies there from before: another artifact.
    shutil.copytree(ignoring_signals, dist)
    config = dist / "small" / "cpu" / "model" / "genai_config.json"
    config.unlink()
    config.write_text("{}")
    before, after = digests(config.parent), digests(ignoring_signals / "small" / "cpu" / "model")
    assert before != after

    model = dist / "small" / "cpu" / "model"
    for said, seconds in MOMENTS:
        if not Build(resumable, *arguments, "--dist", str(dist)).kill_after(said, seconds):
            # It was done before that: from the training on once more.
            for step in keys.keys() - kept:
                shutil.rmtree(resumable.cache / "objects" / object_path(keys[step]))
            Build(resumable, *arguments, "--dist", str(dist)).kill_after(said, seconds)
        assert assert_whole(resumable.cache) >= len(kept)
        assert digests(model) in (before, after) or not model.exists()

    last = resumable("build", *arguments, "--dist", str(dist))
    assert last.code == 0, last.stderr
    assert digests(model) == after
    assert json.loads((dist / "small/cpu/report.json").read_text())["status"] == "passed"
    assert assert_whole(resumable.cache) > 10
    assert list((resumable.cache / "work").iterdir()) == []
    assert {path.name for path in (dist / "small").iterdir()} == {"cpu"}
