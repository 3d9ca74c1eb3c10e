"""Runs what jobs ask for: their command in a container, or with a toolchain's Python, with folders
that are what the service would mount, and a log that grows as blobs do."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

import docker
import obstore
from docker.errors import APIError
from docker.types import IPAMConfig, IPAMPool

from targets.toolchain.image import PYTHON

_FOLDER = re.compile(r"azureml://(?:[^/]+/[^/]+/)*?datastores/([^/]+)/paths/(.*)")
_LOOK_AGAIN = 0.2

OpenContainer = Callable[[str], obstore.store.ObjectStore]


class Process(Protocol):
    """A command that runs."""

    def poll(self) -> int | None: ...
    def kill(self) -> None: ...


@dataclass
class Machines:
    """The machines of a job: the end of one that fails is the end of all."""

    processes: list[Process]

    def poll(self) -> int | None:
        """Return the exit code of the job once all have ended: of the first that failed, if any."""
        codes = [one.poll() for one in self.processes]
        failed = next((code for code in codes if code), None)
        if failed is not None:
            self.kill()
            return failed
        return None if None in codes else 0

    def kill(self) -> None:
        for one in self.processes:
            one.kill()


def _meetings(count: int) -> Iterator[Mapping[str, str]]:
    """Yield what the service tells each of ``count`` machines about the others, as documented for
    PyTorch: https://learn.microsoft.com/azure/machine-learning/how-to-train-distributed-gpu

    How a job is started adds ``MASTER_ADDR``.
    """
    if count == 1:
        yield {}
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    for number in map(str, range(count)):
        ranks = dict.fromkeys(("NODE_RANK", "RANK"), number)
        yield {**ranks, "LOCAL_RANK": "0", "WORLD_SIZE": str(count), "MASTER_PORT": port}


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
        self.running: dict[str, Machines] = {}

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
        code = place / "code"
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
        count = int(job.properties.get("resources", {}).get("instanceCount") or 1)
        machines, logs = [], []
        for number, meeting in enumerate(_meetings(count)):
            temporary = place / ("tmp" if number == 0 else f"tmp-{number}")
            temporary.mkdir(parents=True)
            name = "std_log.txt" if count == 1 else f"std_log_process_{number:02}.txt"
            logs.append(place / name)
            variables = {"TMPDIR": str(temporary), **meeting}
            machines.append(self._start(command, code, logs[-1], variables))
        process = self.running[job.name] = Machines(machines)
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
            for log in logs:
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
        if "NODE_RANK" in variables:
            around["MASTER_ADDR"] = "127.0.0.1"
        return _Local(command.replace(PYTHON, str(python)), cwd, log, around)

    return start


class _Contained:
    def __init__(
        self, image: str, command: str, cwd: Path, log: Path, environment: Mapping[str, str]
    ) -> None:
        place = str(cwd.parent)
        client = docker.from_env()
        network: dict[str, Any] = {"network_mode": "host"}
        if "NODE_RANK" in environment:
            own, first = _address(int(environment["NODE_RANK"])), _address(0)
            environment = {**environment, "MASTER_ADDR": first}
            joined = client.api.create_endpoint_config(ipv4_address=own)
            name = _network(client, cwd.parent.name)
            network = {"network": name, "networking_config": {name: joined}}
        self._container = client.containers.run(
            image,
            ["sh", "-c", f"exec {command} > {log} 2>&1"],
            entrypoint=[],
            detach=True,
            **network,
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


_SUBNET = "10.213.57.0/24"


def _address(number: int) -> str:
    """Return the address of a machine on the network of its job."""
    return _SUBNET.replace(".0/24", f".{number + 10}")


def _network(client: docker.DockerClient, job: str) -> str:
    """Return the name of the network of a job, which is made for its first machine."""
    name = f"quern-azure-{job}"
    if not client.networks.list(names=[name]):
        pool = IPAMPool(subnet=_SUBNET)
        made = IPAMConfig(pool_configs=[pool])
        client.networks.create(name, ipam=made, labels={"quern.test": "azure"})
    return name


def remove_networks() -> None:
    """Remove the networks of jobs that are over."""
    client = docker.from_env()
    for network in client.networks.list(filters={"label": "quern.test=azure"}):
        network.remove()


def in_container(image: str) -> Start:
    """Return what starts a job in a container of ``image``."""

    def start(command: str, cwd: Path, log: Path, variables: Mapping[str, str]) -> Process:
        return _Contained(image, command, cwd, log, variables)

    return start
