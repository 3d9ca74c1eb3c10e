"""A job in a container of an engine elsewhere."""

from __future__ import annotations

import calendar
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal

from docker import DockerClient
from docker.errors import APIError, NotFound
from docker.types import CancellableStream
from pydantic import ValidationError

from pipeline.contract.plan import OUTPUT_DIR
from pipeline.contract.result import RESULT_FILE
from pipeline.contract.sha256 import sha256_of_bytes
from targets.disk import CACHE_REMEDY
from targets.errors import EnvironmentUnable, PassFailed
from targets.runtimes.docker import remove
from targets.systems.arrival import Refused, unpack
from targets.systems.engine.inputs import removed
from targets.systems.engine.keeper import DETACH, READY, STOP
from targets.systems.engine.lease import has_begun, renewed
from targets.systems.engine.leaving import kept_copy, tree_digest
from targets.systems.engine.link import DROPPED, Got, Link, quick
from targets.systems.engine.unfinished import forget
from targets.systems.fetching import LARGEST_RESULT, fetch_step
from targets.systems.system import JobGone, JobState, Kept, Piece
from targets.toolchain.engine import reason
from targets.toolchain.image import PYTHON

_WITHOUT_DISK = "is unexpectedly nil"
"""What an engine says of a container that is half removed: ``Daemon.Mount`` in
https://github.com/moby/moby/blob/v20.10.24/daemon/daemon.go."""
OWN = "/run/quern"
"""The volume of a job: what it alone reads, and what it writes."""
WORK = f"{OWN}/work"
JOB_LABEL = "quern.job"
"""Label with the ID of a job, of its container and of its own volume."""
MARK_LABEL = "quern.mark"

_CANCEL_SECONDS = 60
_CANCEL_PATIENCE = 10
"""For how many seconds a dropped connection is tried again by somebody who wants to stop."""
_LOOK_AGAIN_SECONDS = 0.5
_STOP_SECONDS = 5


class EngineJob:
    """The container ``quern-job-ID``, which outlives its process until it is removed."""

    def __init__(
        self, link: Link, job_id: str, lease_seconds: float, owner: str, python: str = PYTHON
    ) -> None:
        """``owner`` is whose job it is; ``python`` that of its image."""
        self.id = job_id
        self._link = link
        self._owner = owner
        self._fetched: set[str] = set()
        self._python = python
        self._name = container_of(job_id)
        self._lease_seconds = lease_seconds
        self._stream: CancellableStream[bytes] | None = None
        self._mark = ""
        self._exit_code: int | None = None

    @contextmanager
    def attended(self) -> Iterator[None]:
        """Ask after the container while the block runs."""
        with renewed(self._link, self._name, self._lease_seconds, self._wake):
            yield

    def detach(self) -> None:
        """Let it run without being asked after."""
        try:
            while not self._link.again(lambda client: has_begun(client, self._name)):
                time.sleep(_LOOK_AGAIN_SECONDS)
            self._link.again(lambda client: client.api.kill(self._name, DETACH))
        except NotFound:
            raise EnvironmentUnable(
                f"the job {self.id} ended on {self._link.name} before it had begun",
                f"`docker info` on {self._link.name}",
            ) from None

    def read(self, offset: str = "") -> Iterator[Piece]:
        """Yield its standard output; an offset is the engine's time of the last piece."""
        mark = f"{self._marked()} ".encode()
        while True:
            for written, data in self._pieces(offset):
                offset = written
                if data.startswith(mark):
                    self._exit_code = _number(data[len(mark) :])
                    return
                if data != READY:
                    yield Piece(data, offset)
            state = self._state()  # raises if it is gone
            if not state["Running"]:
                self._exit_code = int(state["ExitCode"])
                return
            time.sleep(_LOOK_AGAIN_SECONDS)

    def read_log(self) -> Iterator[bytes]:
        """Yield its standard error as far as the engine has kept it."""

        def whole(client: DockerClient) -> bytes:
            content = client.api.logs(self._name, stdout=False, stderr=True)
            assert isinstance(content, bytes)  # noqa: S101 - without a stream
            return content

        with suppress(NotFound, JobGone):
            yield self._of_container(whole)

    def state(self) -> JobState:
        """Return what the engine says of the container, and what it wrote at its end."""
        try:
            state = self._state()
        except JobGone:
            return JobState("gone")
        if self._exit_code is None and state["Running"]:
            self._exit_code = self._written_exit_code()
        phase: Literal["queued", "running", "ended"] = "ended"
        if state["Status"] == "created":
            phase = "queued"
        elif state["Running"] and self._exit_code is None:
            phase = "running"
        error = str(state.get("Error") or "")
        return JobState(phase, self._exit_code, bool(state["OOMKilled"]), error)

    def stop(self) -> None:
        """End its process. Callable from any thread."""
        client = self._link.beside()
        with suppress(APIError, *DROPPED):
            quick(client, _STOP_SECONDS, lambda one: one.api.kill(self._name, STOP))
        client.close()

    def collect(self, key: str, folder: Path) -> bool:
        """Fetch result and output of ``key``, as one or not at all."""
        if folder.exists():
            return True
        try:
            self._of_container(lambda client: self._fetch(client, key, folder))
        except NotFound:
            return False
        except (Refused, ValidationError) as error:
            raise self._no_step(key, error) from None
        self._fetched.add(key)
        return True

    def _no_step(self, key: str, why: object) -> PassFailed:
        return PassFailed(
            f"{self._link.name} has for {key[:12]} what no step leaves: {why}",
            "its result is not kept",
        )

    def _result(self, client: DockerClient, key: str) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            self._unpack(client, f"{key}/{RESULT_FILE}", RESULT_FILE, place, LARGEST_RESULT)
            return (place / RESULT_FILE).read_bytes()

    def _image(self) -> str:
        return str(self._inspected()["Image"])

    def leave(self, key: str) -> Kept | None:
        """Have a copy of ``key`` stay there, in a volume for inputs."""
        try:
            written = self._link.again(lambda client: self._result(client, key))
            files = self._link.again(
                lambda client: kept_copy(
                    client, self._name, self._image(), self._python, f"{WORK}/{key}"
                )
            )
        except NotFound:
            return None
        except APIError as error:
            raise EnvironmentUnable(
                f"{self._link.name} cannot keep {key[:12]}: {reason(error)}",
                "`checkpoints = true` in the system's table has it come here",
            ) from error
        except Refused as error:
            raise self._no_step(key, error) from None
        if files is None:
            return None
        beside = f"{OUTPUT_DIR}/"
        output = tuple(
            file.model_copy(update={"path": file.path.removeprefix(beside)})
            for file in files
            if file.path.startswith(beside)
        )
        others = [file for file in files if not file.path.startswith(beside)]
        if [(one.path, one.sha256) for one in others] != [(RESULT_FILE, sha256_of_bytes(written))]:
            raise self._no_step(key, "its result was changed, or lies beside something else")
        self._fetched.add(key)
        return Kept(tree_digest(files), written, output)

    def cancel(self) -> None:
        """Remove the container with all that is in it, and see that it is gone; then what steps
        that were fetched would have gone on with."""
        deadline = time.monotonic() + _CANCEL_SECONDS
        while self._link.again(self._is_there, _CANCEL_PATIENCE):
            self._link.again(lambda client: remove(client, self._name), _CANCEL_PATIENCE)
            if time.monotonic() > deadline:
                raise EnvironmentUnable(
                    f"{self._link.name} does not end the job {self.id}",
                    f"there: docker rm --force {self._name}",
                )

        def tidy(client: DockerClient) -> None:
            remove_ownerless(client, self.id)
            forget(client, self._owner, self._fetched)

        self._link.again(lambda client: quick(client, _CANCEL_PATIENCE, tidy), _CANCEL_PATIENCE)

    def _of_container(self, what: Callable[[DockerClient], Got]) -> Got:
        """Return what ``what`` returns. Raises :class:`JobGone` while the engine removes the
        container."""
        try:
            return self._link.again(what)
        except APIError as error:
            if error.status_code == HTTPStatus.CONFLICT or _WITHOUT_DISK in str(error):
                raise JobGone from None
            raise

    def _is_there(self, client: DockerClient) -> bool:
        try:
            quick(client, _CANCEL_PATIENCE, lambda one: one.api.inspect_container(self._name))
        except NotFound:
            return False
        return True

    def _marked(self) -> str:
        """Return what begins the line that says how the process ended."""
        if not self._mark:
            config = self._inspected()["Config"]
            self._mark = str(config["Labels"][MARK_LABEL])
        return self._mark

    def _inspected(self) -> dict[str, Any]:
        try:
            return self._link.again(lambda client: client.api.inspect_container(self._name))
        except NotFound:
            raise JobGone from None

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = self._inspected()["State"]
        return state

    def _pieces(self, offset: str) -> Iterator[tuple[str, bytes]]:
        """Yield what was written after ``offset``, as far as this connection brings it."""
        since = _Place.read(offset).seconds
        options = {"since": since} if since else {}

        def logs(client: DockerClient) -> CancellableStream[bytes]:
            stream = client.api.logs(
                self._name,
                stdout=True,
                stderr=False,
                stream=True,
                follow=True,
                timestamps=True,
                **options,
            )
            assert isinstance(stream, CancellableStream)  # noqa: S101
            return stream

        try:
            self._stream = self._of_container(logs)
        except NotFound:
            raise JobGone from None
        place = _Place.read(offset)
        with suppress(*DROPPED, OSError, ValueError, struct.error):
            for piece in self._stream:
                written, _, data = piece.partition(b" ")
                if place.is_passed_by(written.decode("ascii", "replace")):
                    yield str(place), data
        self._stream = None

    def _wake(self) -> None:
        """Have who reads from a connection that is dead notice it. From another thread."""
        stream = self._stream
        if stream is not None:
            with suppress(Exception):
                stream.close()

    def _written_exit_code(self) -> int | None:
        """Return the exit code in the last lines of the output, if it has ended."""
        mark = f"{self._marked()} ".encode()
        try:
            lines = self._of_container(
                lambda client: client.api.logs(self._name, stdout=True, stderr=False, tail=5)
            )
        except (NotFound, JobGone):
            return None
        assert isinstance(lines, bytes)  # noqa: S101
        codes = [line[len(mark) :] for line in lines.split(b"\n") if line.startswith(mark)]
        return _number(codes[-1]) if codes else None

    def _fetch(self, client: DockerClient, key: str, folder: Path) -> None:
        def part(name: str, into: Path, largest: int) -> None:
            self._unpack(client, f"{key}/{name}", name, into, largest)

        fetch_step(part, folder, self._link.name)

    def _unpack(
        self, client: DockerClient, path: str, name: str, folder: Path, largest: int
    ) -> None:
        stream, _ = client.api.get_archive(self._name, f"{WORK}/{path}")
        try:
            unpack(iter(stream), name, folder, largest)
        except OSError as error:
            if isinstance(error, DROPPED):
                raise
            raise EnvironmentUnable(
                f"what {self._link.name} sends cannot be kept: {error.strerror}", CACHE_REMEDY
            ) from error


def container_of(job_id: str) -> str:
    """Return the name of the container of a job."""
    return f"quern-job-{job_id}"


def remove_ownerless(client: DockerClient, job_id: str | None = None) -> None:
    """Remove the volumes of jobs, or of one, whose container is gone: an engine that was killed
    removes the containers when it starts again, and leaves what only they had.

    Labels are looked at here: of two filters, Podman 4.3 takes volumes that pass one.
    """
    listed = client.api.volumes(filters={"label": JOB_LABEL})["Volumes"] or ()
    for one in listed:
        owner = (one["Labels"] or {}).get(JOB_LABEL)
        if owner is not None and job_id in (None, owner):
            removed(client, str(one["Name"]))  # not if a container has it


def _number(text: bytes) -> int:
    try:
        return int(text)
    except ValueError:
        return 1


class _Place:
    """A place in the output: the engine's time of a piece, and which piece of that time it is.

    The parts of a long line have the same time.
    """

    def __init__(self, moment: str, count: int) -> None:
        self._time, self._count = moment, count
        self._seen = 0

    @classmethod
    def read(cls, offset: str) -> _Place:
        moment, _, count = offset.partition(" ")
        return cls(moment, int(count or 0))

    def __str__(self) -> str:
        return f"{self._time} {self._count}"

    @property
    def seconds(self) -> int:
        """Return its whole seconds since the epoch; 0 for the beginning."""
        if not self._time:
            return 0
        return calendar.timegm(time.strptime(self._time[:19], "%Y-%m-%dT%H:%M:%S"))

    def is_passed_by(self, written: str) -> bool:
        """Return whether the next piece, of that time, comes after it; it then is that place."""
        if written < self._time:
            return False
        if written > self._time:
            self._time, self._count, self._seen = written, 0, 0
        self._seen += 1
        if self._seen <= self._count:
            return False
        self._count = self._seen
        return True
