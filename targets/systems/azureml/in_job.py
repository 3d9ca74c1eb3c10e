"""What a job runs there: brings the inputs to where steps read them, runs the steps, and stores the
result of each as soon as it is finished. Sent to the job as it is; the standard library alone.

``in_job.py BLOBS MADE KEPT TASK``: the folder of blobs that can be read, the job's own folder, the
folder of blobs that can be written, and the digest of the task, itself a blob. Below ``MADE``::

    <key>/result.json    the result of a finished step, whose files are blobs, written last
    log                  what its process wrote to standard error, at the end
    ended.json           how it ended, written last
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

CODE = "code"
"""The root below which ``pipeline/`` lies."""
_CHUNK = 1 << 20
_PASSED_ON = (
    "PATH",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
)
"""Of the job's variables, those that a step gets to see. The others have tokens among them."""
_SECRET = "hf-token"  # noqa: S105 - its name
_VAULT = "https://vault.azure.net"
_SECONDS = 30


def main(blobs: Path, made: Path, kept: Path, task_digest: str) -> int:
    """Run the task and return the exit code of its process."""
    work = Path(tempfile.mkdtemp(prefix="quern-"))
    task = json.loads(_read(blobs, task_digest))
    roots = _lay_out(task["inputs"], blobs, work / "inputs")
    del roots[CODE]
    (work / "work").mkdir()
    roots["work"] = work / "work"
    roots.setdefault("objects", work / "inputs" / "objects").mkdir(parents=True, exist_ok=True)
    (work / "plan.json").write_text(json.dumps(task["plan"]), "utf-8")
    command = [sys.executable, "-m", "pipeline", str(work / "plan.json")]
    for name, path in sorted(roots.items()):
        command += ["--root", f"{name}={path}"]
    if task["keyvault"]:
        variables = work / "variables.json"
        variables.touch(0o600)
        variables.write_text(json.dumps({"HF_TOKEN": secret(task["keyvault"])}), "utf-8")
        command += ["--variables", str(variables)]
    code = _run(command, task, work, blobs, made, kept)
    shutil.copyfile(work / "log", made / "log")
    (made / "ended.json").write_text(json.dumps({"exit_code": code}), "utf-8")
    shutil.rmtree(work, ignore_errors=True)
    return code


def _run(
    command: list[str], task: dict[str, Any], work: Path, blobs: Path, made: Path, kept: Path
) -> int:
    """Run ``command`` and pass its events on: that of a finished step when its result is stored."""
    (work / "home").mkdir()
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment = {**passed_on, **task["environment"], "HOME": str(work / "home")}
    environment["PYTHONPATH"] = str(work / "inputs" / CODE)
    keys = {step["name"]: step["key"] for step in task["plan"]["steps"]}
    with (
        (work / "log").open("wb") as log,
        subprocess.Popen(
            command,
            cwd=work / "home",  # `-m` looks there first
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
        ) as process,
    ):
        assert process.stdout is not None  # noqa: S101 - a pipe
        for line in process.stdout:
            key = keys.get(_finished(line))
            if key is not None:
                _store(work / "work" / key, key, blobs, made, kept)
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
    return process.returncode


def _lay_out(inputs: list[dict[str, Any]], blobs: Path, folder: Path) -> dict[str, Path]:
    """Copy the files of ``inputs`` below ``folder``, each hashed on its way; return the roots."""
    roots = {}
    for part in inputs:
        root = folder / part["root"]
        roots[part["root"]] = root
        for path, sha256 in part["files"]:
            place = root / part["path"] / path
            place.parent.mkdir(parents=True, exist_ok=True)
            with _blob(blobs, sha256).open("rb") as source, place.open("wb") as target:
                digest = hashlib.sha256()
                while chunk := source.read(_CHUNK):
                    digest.update(chunk)
                    target.write(chunk)
            if digest.hexdigest() != sha256:
                raise SystemExit(f"the blob {sha256} has other bytes than its name says")
    return roots


def _store(step: Path, key: str, blobs: Path, made: Path, kept: Path) -> None:
    """Store what a finished step has left: its files as blobs, then its result."""
    result = json.loads((step / "result.json").read_text("utf-8"))
    for file in result["files"]:
        if not _blob(blobs, file["sha256"]).is_file():
            place = _blob(kept, file["sha256"])
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(step / "output" / file["path"], place)
    (made / key).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(step / "result.json", made / key / "result.json")


def _blob(folder: Path, sha256: str) -> Path:
    return folder / sha256[:2] / sha256


def _read(blobs: Path, sha256: str) -> bytes:
    content = _blob(blobs, sha256).read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise SystemExit(f"the blob {sha256} has other bytes than its name says")
    return content


def _finished(line: bytes) -> str:
    """Return the name of the step that an event says is finished; empty for any other line."""
    try:
        event = json.loads(line)
        return str(event["step"]) if event["event"] == "finished" else ""
    except (ValueError, KeyError, TypeError):
        return ""


def secret(vault: str) -> str:
    """Return the hub's token from the key vault, as the identity of the compute."""
    asked = {"api-version": "2017-09-01", "resource": _VAULT}
    if client := os.environ.get("DEFAULT_IDENTITY_CLIENT_ID"):
        asked["clientid"] = client
    endpoint = os.environ.get("MSI_ENDPOINT")
    if not endpoint:
        raise SystemExit("the compute has no identity: give it one that may read the key vault")
    address = f"{endpoint}?{urllib.parse.urlencode(asked)}"
    token = _ask(address, {"secret": os.environ.get("MSI_SECRET", "")})["access_token"]
    secret = f"https://{vault}.vault.azure.net/secrets/{_SECRET}?api-version=7.4"
    return str(_ask(secret, {"Authorization": f"Bearer {token}"})["value"])


def _ask(address: str, headers: dict[str, str]) -> dict[str, Any]:
    request = urllib.request.Request(address, headers=headers)  # noqa: S310 - as Azure has it
    with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
        content: dict[str, Any] = json.load(answer)
    return content


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]))
