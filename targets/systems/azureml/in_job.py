"""What a job runs there: brings the inputs to where steps read them, runs the steps, and stores the
result of each as soon as it is finished. Sent to the job as it is; the standard library alone.

``in_job.py BLOBS MADE KEPT TASK``: the folder of blobs that can be read, the job's own folder, the
folder of blobs that can be written, and the digest of the task, itself a blob. Below ``MADE``::

    <key>/result.json    the result of a finished step, whose files are blobs, written last
    log                  what its process wrote to standard error, at the end
    ended.json           how it ended, written last

Of several machines of a job, the others than the first store the last two alone, as ``log-1`` and
``ended-1.json`` for the second, with what their process said went wrong.
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
_MEETING = ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What the service tells each of several machines:
https://learn.microsoft.com/azure/machine-learning/how-to-train-distributed-gpu"""
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
    number, machine = _machine(task["machines"])
    task["environment"] |= machine
    code, failed = _run(command, task, work, None if number else (blobs, made, kept))
    end = f"-{number}" if number else ""
    shutil.copyfile(work / "log", made / f"log{end}")
    ended = {"exit_code": code, "failed": failed}
    (made / f"ended{end}.json").write_text(json.dumps(ended), "utf-8")
    shutil.rmtree(work, ignore_errors=True)
    return code


def _machine(count: int) -> tuple[int, dict[str, str]]:
    """Return which of ``count`` machines this is, and what a step reads of that."""
    if count == 1:
        return 0, {}
    try:
        number, address, port = (os.environ[name] for name in _MEETING)
        return int(number), {"QUERN_MACHINE": f"{int(number)}/{count}@{address}:{int(port)}"}
    except (KeyError, ValueError) as error:
        names = ", ".join(_MEETING)
        raise SystemExit(
            f"the service does not say where machines meet ({names}): {error}"
        ) from None


def _run(
    command: list[str], task: dict[str, Any], work: Path, folders: tuple[Path, Path, Path] | None
) -> tuple[int, dict[str, Any]]:
    """Run ``command`` and pass its events on: that of a finished step when its result is stored, in
    ``folders`` if there are any. Return its exit code, and the event of what went wrong."""
    (work / "home").mkdir()
    failed: dict[str, Any] = {}
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
            event = _event(line)
            key = keys.get(str(event.get("step")))
            if event.get("event") == "finished" and key is not None and folders is not None:
                _store(work / "work" / key, key, *folders)
            if event.get("event") == "failed":
                failed = event
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
    return process.returncode, failed


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


def _event(line: bytes) -> dict[str, Any]:
    """Return the event of a line; empty for any other line."""
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


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
