"""Runs what jobs ask for: their command in a container, or with a toolchain's Python, with folders
that are what the service would mount, and a log that grows as blobs do."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

import docker
import obstore
from docker.errors import APIError

from targets.toolchain.image import PYTHON

_FOLDER = re.compile(r"azureml://(?:[^/]+/[^/]+/)*?datastores/([^/]+)/paths/(.*)")
_LOOK_AGAIN = 0.2

OpenContainer = Callable[[str], obstore.store.ObjectStore]


class Process(Protocol):
    """A command that runs."""

    def poll(self) -> int | None: ...
    def kill(self) -> None: ...


Start = Callable[[str, Path, Path, Mapping[str, str]], Process]
"""Starts a command in a folder, with a file for its output and more variables."""


@dataclass
class Job:
    """A job: what was asked for, and what became of it."""

    name: str
    properties: dict[str, Any]
    created: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    status: str = "NotStarted"
    begun: datetime | None = None
    ended: datetime | None = None
    error: str = ""
    asked_to_end: bool = False

    @property
    def over(self) -> bool:
        return self.status in ("Completed", "Failed", "Canceled")


class JobRunner:
    """Runs jobs, each in a thread and a folder of its own."""

    def __init__(self, folder: Path, open_container: OpenContainer, start: Start) -> None:
        self.folder = folder
        self._open = open_container
        self._start = start
        self.queue = threading.Event()
        """Jobs start once it is set."""
        self.queue.set()
        self.running: dict[str, Process] = {}

    def submit(self, job: Job, code_uri: str) -> None:
        def work() -> None:
            try:
                self._run(job, code_uri)
            except BaseException as error:
                job.status, job.error = "Failed", f"the stand-in failed: {error!r}"
                raise

        threading.Thread(target=work, daemon=True).start()

    def working(self) -> list[Path]:
        """Return the folders for temporary files of the steps that wait."""
        return [*self.folder.glob("*/tmp/quern-*/work/scratch.partial")]

    def preempt(self, job: Job) -> None:
        """Take the machine away, as the service does with cheap ones."""
        job.error = "The node was preempted: a job of higher priority needed it."
        self.running[job.name].kill()

    def _run(self, job: Job, code_uri: str) -> None:
        job.status = "Queued"
        while not self.queue.wait(_LOOK_AGAIN):
            if job.asked_to_end:
                job.status = "Canceled"
                return
        job.status, job.begun = "Running", datetime.now(timezone.utc)
        place = self.folder / job.name
        code, temporary, log = place / "code", place / "tmp", place / "std_log.txt"
        temporary.mkdir(parents=True)
        container, _, prefix = code_uri.partition(".blob.core.windows.net/")[2].partition("/")
        self._fetch(container, prefix.rstrip("/") + "/", code)
        command, outputs = str(job.properties["command"]), {}
        for kind in ("inputs", "outputs"):
            for name, one in job.properties[kind].items():
                datastore, path = _FOLDER.fullmatch(one["uri"]).groups()  # type: ignore[union-attr]
                folder = place / kind / name
                folder.mkdir(parents=True)
                if kind == "inputs":
                    self._fetch(CONTAINERS[datastore], path, folder)
                else:
                    outputs[folder] = (CONTAINERS[datastore], path)
                command = command.replace(f"${{{{{kind}.{name}}}}}", str(folder))
        process = self._start(command, code, log, {"TMPDIR": str(temporary)})
        self.running[job.name] = process
        sent: dict[Path, tuple[int, int]] = {}
        limit = job.properties["limits"]["timeout"]
        deadline = time.monotonic() + _seconds(limit)
        while True:
            code_of_end = process.poll()  # before what is there is looked at for the last time
            if code_of_end is None and (job.asked_to_end or time.monotonic() > deadline):
                process.kill()
                job.asked_to_end = True
            for folder, (container, path) in outputs.items():
                self._store(folder, container, path, sent)
            log_path = f"ExperimentRun/dcid.{job.name}/user_logs/"
            self._store(log, "azureml", log_path, sent)
            if code_of_end is not None:
                break
            time.sleep(_LOOK_AGAIN)
        del self.running[job.name]
        job.ended = datetime.now(timezone.utc)
        if job.asked_to_end:
            job.status = "Canceled"
        else:
            job.status = "Completed" if code_of_end == 0 else "Failed"
        shutil.rmtree(place, ignore_errors=True)

    def _fetch(self, container: str, prefix: str, folder: Path) -> None:
        store = self._open(container)
        for chunk in obstore.list(store, prefix.rstrip("/")):
            for one in chunk:
                name = one["path"].removeprefix(prefix)
                place = folder / name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(bytes(obstore.get(store, one["path"]).bytes()))

    def _store(
        self, source: Path, container: str, path: str, sent: dict[Path, tuple[int, int]]
    ) -> None:
        """Store what is new in ``source`` and closed by now, as a mount does."""
        store = self._open(container)
        files = [source] if source.is_file() else sorted(source.rglob("*"))
        # A result names files: these first.
        for file in sorted(files, key=lambda file: file.name == "result.json"):
            with suppress(FileNotFoundError):
                seen = file.stat().st_mtime_ns, file.stat().st_size
                if file.is_file() and sent.get(file) != seen:
                    name = file.name if source.is_file() else file.relative_to(source).as_posix()
                    obstore.put(store, path + name, file.read_bytes())
                    sent[file] = seen


def _seconds(duration: str) -> float:
    """Return the seconds of a duration as ISO 8601 has it: ``PT1H30M``."""
    parts = re.fullmatch(r"P(?:(\d+)D)?T?(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?", duration)
    assert parts is not None, duration
    days, hours, minutes, seconds = (int(part or 0) for part in parts.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


CONTAINERS = {"workspaceblobstore": "team", "workspaceartifactstore": "azureml"}
"""The container of each datastore."""


class _Local:
    def __init__(self, command: str, cwd: Path, log: Path, environment: Mapping[str, str]) -> None:
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                ["sh", "-c", command],
                cwd=cwd,
                env=dict(environment),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def poll(self) -> int | None:
        return self._process.poll()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


def with_python(python: Path) -> Start:
    """Return what starts a job with the Python of a toolchain."""

    def start(command: str, cwd: Path, log: Path, variables: Mapping[str, str]) -> Process:
        around = {"PATH": os.environ["PATH"], **variables}
        return _Local(command.replace(PYTHON, str(python)), cwd, log, around)

    return start


class _Contained:
    def __init__(
        self, image: str, command: str, cwd: Path, log: Path, environment: Mapping[str, str]
    ) -> None:
        place = str(cwd.parent)
        client = docker.from_env()
        self._log = log
        self._container = client.containers.run(
            image,
            ["sh", "-c", f"exec {command} > {log} 2>&1"],
            entrypoint=[],
            detach=True,
            network_mode="host",
            user=f"{os.getuid()}:{os.getgid()}",
            environment=dict(environment),
            working_dir=str(cwd),
            volumes={place: {"bind": place, "mode": "rw"}},
            labels={"quern.test": "azure"},
        )

    def poll(self) -> int | None:
        self._container.reload()
        state = self._container.attrs["State"]
        if state["Running"] or state["Status"] == "created":
            return None
        with suppress(APIError):
            self._container.remove(force=True)
        return int(state["ExitCode"])

    def kill(self) -> None:
        with suppress(APIError):
            self._container.kill()


def in_container(image: str) -> Start:
    """Return what starts a job in a container of ``image``."""

    def start(command: str, cwd: Path, log: Path, variables: Mapping[str, str]) -> Process:
        return _Contained(image, command, cwd, log, variables)

    return start
