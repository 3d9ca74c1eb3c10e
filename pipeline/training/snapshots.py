"""Snapshots of a training, from which the next run goes on after one that was killed.

They lie in a folder that outlives the process. A snapshot counts once the list of its files is
there, which is written last; one that was being written, or was damaged since, is removed.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from pipeline.contract.file_digest import FileDigest
from pipeline.contract.sha256 import sha256_of_file
from pipeline.contract.step import Reporter
from pipeline.process.sealing import seal, sync

INTERVAL_SECONDS = 600.0
"""Between two snapshots, unless the parameters give a number of steps."""
PREFIX = "checkpoint-"
"""Of a snapshot's folder, before the number of its step; transformers calls it so."""
_LIST = "files.json"
_FILES = TypeAdapter(tuple[FileDigest, ...])
_MOST_BYTES = 10_000_000
"""Of a list that is read."""


class Snapshots:
    """The snapshots of one training. Without a folder there are none, and none is ever due."""

    def __init__(
        self, folder: Path | None, every: int | None, report: Reporter, unit: str = "step"
    ) -> None:
        """``every`` is a number of steps, which messages call ``unit``; ``None`` stands for
        :data:`INTERVAL_SECONDS`."""
        self.folder = folder
        self._every = every
        self._report = report
        self._work = "training" if unit == "step" else "work"
        self._unit = unit
        self._step = 0
        self._time = time.monotonic()

    def latest(self) -> Path | None:
        """Return the complete snapshot of the highest step, and remove all others."""
        found = sorted(self._all(), key=step_of, reverse=True)
        newest = next((snapshot for snapshot in found if _is_complete(snapshot)), None)
        self._keep_only(newest)
        if newest is not None:
            self._step = step_of(newest)
            self._report.note(
                f"the {self._work} goes on after {self._unit} {self._step}, up to which an "
                "interrupted run got"
            )
        return newest

    def due(self, step: int) -> bool:
        """Return whether a snapshot is to be written after ``step``."""
        if self.folder is None:
            return False
        if self._every is not None:
            return step - self._step >= self._every
        return time.monotonic() - self._time >= INTERVAL_SECONDS

    def has_room(self, needed: int) -> bool:
        """Return whether the disk has room for a snapshot of ``needed`` bytes; warn if not, and ask
        for none until the next is due."""
        if self.folder is None:
            return False
        free = shutil.disk_usage(self.folder).free
        if needed < free:
            return True
        self._report.warn(
            f"no snapshot of the {self._work} is kept: it takes {needed / 1e9:.1f} GB, and "
            f"{free / 1e9:.1f} GB are free"
        )
        self._passed()
        return False

    @contextmanager
    def new(self, step: int) -> Iterator[Path]:
        """Yield an empty folder for a snapshot, which is complete after the block."""
        if self.folder is None:
            raise ValueError("this training has no folder for snapshots")
        snapshot = self.folder / f"{PREFIX}{step}"
        snapshot.mkdir()
        yield snapshot
        self.complete(snapshot)

    def complete(self, snapshot: Path) -> None:
        """Declare the folder ``snapshot`` complete, and remove those before it."""
        files = _FILES.dump_json(seal(snapshot))
        (snapshot / _LIST).write_bytes(files)
        sync(snapshot / _LIST)
        sync(snapshot)
        self._step = step_of(snapshot)
        self._passed()
        self._keep_only(snapshot)

    def _passed(self) -> None:
        self._time = time.monotonic()

    def _all(self) -> list[Path]:
        return [] if self.folder is None else list(self.folder.glob(f"{PREFIX}*"))

    def _keep_only(self, kept: Path | None) -> None:
        for snapshot in self._all():
            if snapshot != kept:
                shutil.rmtree(snapshot)


def step_of(snapshot: Path) -> int:
    """Return the number of steps before a snapshot, which is in the name of its folder."""
    number = snapshot.name.removeprefix(PREFIX)
    return int(number) if number.isdecimal() else -1


def _is_complete(snapshot: Path) -> bool:
    """Return whether all files of a snapshot are as its list says."""
    try:
        with (snapshot / _LIST).open("rb") as file:
            files = _FILES.validate_json(file.read(_MOST_BYTES))
        return all(_is_whole(snapshot / file.path, file) for file in files)
    except (OSError, ValidationError):
        return False


def _is_whole(path: Path, file: FileDigest) -> bool:
    return path.stat().st_size == file.bytes and sha256_of_file(path) == file.sha256
