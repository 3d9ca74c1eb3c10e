"""A job of Azure Machine Learning: read as it writes, fetched blob by blob, and ended for good."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta, timezone
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ValidationError, field_validator

from pipeline.contract.events import StepFailed
from pipeline.contract.plan import OUTPUT_DIR
from pipeline.contract.result import RESULT_FILE, StepResult
from pipeline.process.exit_codes import describe_exit
from targets.atomic import replace_file, sibling_folder
from targets.disk import CACHE_REMEDY, Need, require_room
from targets.errors import EnvironmentUnable, PassFailed
from targets.figures import duration
from targets.foreign_text import one_line
from targets.remote.arrival import Arrival, BlobLost
from targets.remote.record import RecordRefused, require_plain
from targets.remote.store import Store
from targets.systems.azureml.workspace import FIRST_LOG, LOGS, SeenJob, Workspace, stored
from targets.systems.system import JobGone, JobState, Piece, Say

ENDED, STDERR = "ended.json", "log"
"""What a job leaves at its end."""
_OTHER = re.compile(r"ended-(\d{1,4})\.json", re.ASCII)
"""What any other machine than the first leaves at its end."""
_LARGEST_RESULT = 1 << 28
_LARGEST_LOG = 1 << 26
_PIECE = 1 << 20
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0


class _Ended(BaseModel):
    """What a machine leaves at its end."""

    exit_code: int
    failed: StepFailed | None = None

    @field_validator("failed", mode="before")
    @classmethod
    def _nothing(cls, value: object) -> object:
        return value or None

    @property
    def of_others(self) -> bool:
        """Return whether it failed because another machine had."""
        return self.failed is not None and self.failed.cause == "peer"


class AzureJob:
    """The job ``name``, and its folder ``jobs/<name>`` among the blobs of the datastore."""

    def __init__(
        self,
        job_id: str,
        note: Path,
        workspace: Workspace,
        blobs: Callable[[], Store],
        max_hours: float,
        say: Say,
    ) -> None:
        """``note`` is the file of this machine that has its name, as long as it is not over."""
        self.id = job_id
        self._note = note
        self._workspace = workspace
        self._blobs = blobs
        self._longest = timedelta(hours=max_hours)
        self._say = say
        self._stopped = False
        self._billed = False

    @property
    def name(self) -> str:
        """Return what the service calls it; empty if this machine knows of none."""
        try:
            return self._note.read_text("ascii").strip()
        except OSError:
            return ""

    @property
    def folder(self) -> str:
        """Return its folder in the store of blobs."""
        return f"jobs/{self.name}"

    def attended(self) -> AbstractContextManager[None]:
        """Do nothing: the service lets it run until ``max_hours``."""
        return nullcontext()

    def detach(self) -> None:
        """Do nothing: it runs whether somebody waits for it or not."""

    def read(self, offset: str = "") -> Iterator[Piece]:
        """Yield its standard output; an offset is the number of bytes before it."""
        place = int(offset or 0)
        pause, said = _SHORTEST_PAUSE, ""
        while True:
            seen = self._seen()
            data = self._read_log_from(place)
            if data:
                place += len(data)
                pause = _SHORTEST_PAUSE
                yield Piece(data, str(place))
                continue
            if seen.phase == "ended":
                return
            if seen.phase == "queued":
                self._require_patience(seen)
            if seen.status != said:
                said = seen.status
                self._say(f"{self._workspace.words}: the job {self.name} is {_spelled(said)}")
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def read_log(self) -> Iterator[bytes]:
        """Yield what its process wrote to standard error, once it has ended."""
        with stored():
            found = self._store.read(f"{self.folder}/{STDERR}", _LARGEST_LOG)
        if found is not None:
            yield found[0]

    def state(self) -> JobState:
        """Return what the service says of it, and what it left at its end."""
        name = self.name
        seen = self._workspace.look(name) if name else None
        if seen is None:
            return JobState("gone")
        if seen.phase != "ended":
            return JobState(seen.phase)
        told = self._workspace.told(name, seen)
        cost = ""
        if told.billed_seconds:
            cost = (
                f"the job {name} waited {duration(told.queued_seconds)}, and "
                f"{duration(told.billed_seconds)} of the compute are billed"
            )
        if cost and not self._billed:
            self._billed = True
            self._say(f"{self._workspace.words}: {cost}")
        ended = self._ended()
        if (ended is None or ended.of_others) and (other := self._other()):
            return JobState("ended", error=other, cost=cost)
        if ended is not None:
            return JobState("ended", ended.exit_code, cost=cost)
        if self._stopped:
            return JobState("ended", 1, cost=cost)
        return JobState("ended", error=_explained(seen.status, told.error), cost=cost)

    def stop(self) -> None:
        """End it; what it has finished stays. Callable from any thread."""
        self._stopped = True
        self._workspace.begin_cancel(self.name)

    def collect(self, key: str, folder: Path) -> bool:
        """Fetch result and output of ``key``, as one or not at all."""
        if folder.exists():
            return True
        path = f"{self.folder}/{key}/{RESULT_FILE}"
        with stored():
            found = self._store.read(path, _LARGEST_RESULT)
        if found is None:
            return False
        try:
            result = StepResult.model_validate_json(found[0])
            require_plain(result)
            self._fetch(result, found[0], folder)
        except (ValidationError, RecordRefused, BlobLost) as error:
            raise PassFailed(
                f"the job {self.name} left for {key[:12]} what no step leaves: {error}",
                "its result is not kept",
            ) from None
        return True

    def leave(self, key: str) -> None:  # noqa: ARG002 - the interface
        """Return nothing: all that a job makes comes here, and stays among the blobs too."""
        return

    def cancel(self) -> None:
        """End it, remove its folder, and forget it."""
        name = self.name
        if not name:
            return
        self._workspace.cancel(name)
        with stored():
            for left in list(self._store.list(f"{self.folder}/")):
                self._store.remove(left.path)
        self._note.unlink(missing_ok=True)

    @cached_property
    def _store(self) -> Store:
        return self._blobs()

    @cached_property
    def _log(self) -> Store:
        return self._workspace.log(self.name)

    def _seen(self) -> SeenJob:
        name = self.name
        seen = self._workspace.look(name) if name else None
        if seen is None:
            raise JobGone
        return seen

    def _read_log_from(self, place: int) -> bytes:
        with stored():
            found = (one for one in self._log.list(LOGS) if FIRST_LOG.fullmatch(one.path))
            there = next(found, None)
            if there is None or there.size <= place:
                return b""
            return self._log.part(there.path, place, min(_PIECE, there.size - place)) or b""

    def _require_patience(self, seen: SeenJob) -> None:
        if datetime.now(timezone.utc) - seen.created > self._longest:
            raise EnvironmentUnable(
                f"the job {self.name} has waited for {duration(self._longest.total_seconds())}, "
                f"and {self._workspace.words} has not started it ({_spelled(seen.status)})",
                "its machines may all be in use, or the quota is: look there, or raise "
                "`max_hours`; the job is ended, and finished steps are kept",
            )

    def _ended(self, file: str = ENDED) -> _Ended | None:
        with stored():
            found = self._store.read(f"{self.folder}/{file}", _PIECE)
        try:
            return None if found is None else _Ended.model_validate_json(found[0])
        except ValidationError:
            return None

    def _other(self) -> str:
        """Return which of several machines failed, and why, if it was not the first one."""
        with stored():
            left = [one.path.rpartition("/")[2] for one in self._store.list(f"{self.folder}/")]
        for number in sorted(int(match[1]) for name in left if (match := _OTHER.fullmatch(name))):
            ended = self._ended(f"ended-{number}.json")
            if ended is not None and ended.exit_code and not ended.of_others:
                why = one_line(ended.failed.message) if ended.failed is not None else ""
                how = why or f"its process {_how(ended.exit_code)}"
                return f"the machine {number} (from 0) of the training failed: {how}"
        return ""

    def _fetch(self, result: StepResult, content: bytes, folder: Path) -> None:
        with sibling_folder(folder) as fresh:
            arrival = Arrival(self._store, fresh / "parts", self._say)
            what = f"what {self._workspace.words} made of {result.name}"
            require_room([Need(folder, arrival.left(result.files), what, CACHE_REMEDY)])
            with stored():
                arrival.fetch(result.files)
            arrival.arrange(result.files, fresh / OUTPUT_DIR)
            arrival.forget()
            replace_file(fresh / RESULT_FILE, content.decode())
            fresh.rename(folder)


def _how(code: int) -> str:
    return describe_exit(code) if code < 0 else f"ended with {describe_exit(code)}"


def _explained(status: str, told: str) -> str:
    if status == "Canceled":
        return told or "somebody ended the job there, or it took longer than `max_hours`"
    return told or f"the job is {_spelled(status)}, and does not say why"


def _spelled(status: str) -> str:
    words = {"NotStarted": "not started", "CancelRequested": "ending", "Canceled": "cancelled"}
    return words.get(status, status.lower())
