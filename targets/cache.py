"""The content-addressed store of step results, shared by all builds and targets.

In the cache folder::

    objects/<k[:2]>/<key>/result.json   a finished step (see pipeline.contract.result)
    objects/<k[:2]>/<key>/output/       its output
    work/<run>/                         one running process; finished steps are moved out
    unfinished/<key>/                   files with which an unfinished step can continue
    locks/                              one lock per key, and one per run
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError

from pipeline.contract.plan import OUTPUT_DIR, object_path
from pipeline.contract.result import RESULT_FILE, StepResult, read_result
from targets.digests import Digests


@dataclass(frozen=True)
class CachedStep:
    """A finished step in the cache."""

    folder: Path
    result: StepResult

    @property
    def output(self) -> Path:
        """Return the output folder of the step."""
        return self.folder / OUTPUT_DIR


@dataclass(frozen=True)
class UnusedStep:
    """A finished step in the cache that no build has used lately."""

    name: str
    key: str
    freed: int
    """Bytes that removing it frees; files that are linked from elsewhere do not count."""


class Cache:
    """Finds, locks and publishes step results. Safe for concurrent builds."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.digests = Digests(root / "digests.sqlite")

    @property
    def objects(self) -> Path:
        """Return the folder of finished steps, mounted read-only into containers."""
        return self.root / "objects"

    def output(self, key: str) -> Path:
        """Return the output folder of the finished step ``key``."""
        return self.objects / object_path(key) / OUTPUT_DIR

    def unfinished(self, key: str) -> Path:
        """Return the folder with the files from which the step ``key`` can continue."""
        return self.root / "unfinished" / key

    def find(self, key: str) -> CachedStep | None:
        """Return the finished step ``key`` if all its files exist and match their digests.

        A damaged entry (a file edited through a link in ``dist/``, a broken disk) is removed.
        """
        folder = self.objects / object_path(key)
        try:
            result = read_result(folder)
        except FileNotFoundError:
            return None
        except ValidationError:
            self._evict(folder)
            return None
        step = CachedStep(folder, result)
        if not self._whole(step):
            self._evict(folder)
            return None
        with suppress(OSError):  # a cache of others that may only be read
            os.utime(folder)
        return step

    def unused_since(self, moment: float) -> tuple[UnusedStep, ...]:
        """Return the finished steps that were last used before ``moment`` (seconds since the
        epoch), the longest unused first."""
        folders = [folder for folder in self.objects.glob("*/*") if folder.stat().st_mtime < moment]
        return tuple(map(_unused, sorted(folders, key=lambda folder: folder.stat().st_mtime)))

    def remove(self, step: UnusedStep) -> None:
        """Remove a finished step, unless a build is remaking it at this moment."""
        with suppress(Timeout), self._lock(step.key).acquire(blocking=False):
            self._evict(self.objects / object_path(step.key))

    @contextmanager
    def locked(self, keys: Iterable[str], waiting: Callable[[str], None]) -> Iterator[None]:
        """Hold the locks of ``keys``; ``waiting`` is called once if another build holds one."""
        announced = False
        with ExitStack() as stack:
            # One order for all builds, so that two of them never wait for each other.
            for key in sorted(set(keys)):
                lock = self._lock(key)
                try:
                    lock.acquire(blocking=False)
                except Timeout:
                    if not announced:
                        waiting(key)
                        announced = True
                    lock.acquire()
                stack.callback(lock.release)
            yield

    @contextmanager
    def work_folder(self) -> Iterator[Path]:
        """Yield a fresh work folder; its finished steps are kept even if the caller fails."""
        run = uuid.uuid4().hex[:12]
        folder = self.root / "work" / run
        with self._lock(f"run-{run}"):
            folder.mkdir(parents=True)
            try:
                yield folder
            finally:
                self._publish_all(folder)
                shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def scratch_folder(self) -> Iterator[Path]:
        """Yield a fresh folder that is removed afterwards."""
        folder = self.root / "scratch"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as name:
            yield Path(name)

    def recover(self) -> None:
        """Keep the finished steps of runs whose driver was killed, and remove their folders."""
        for folder in sorted((self.root / "work").glob("*")):
            lock = self._lock(f"run-{folder.name}")
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            try:
                self._publish_all(folder)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                lock.release()

    def _publish_all(self, work: Path) -> None:
        for result in sorted(work.glob(f"*/{RESULT_FILE}")):
            if result.parent.suffix != ".partial":
                self._publish(result.parent)

    def _publish(self, step: Path) -> None:
        try:
            result = read_result(step)
        except ValidationError:
            return
        # A missed limit is measured anew by the next build, so it is not remembered.
        if any(verdict.status == "failed" for verdict in result.verdicts):
            return
        shutil.rmtree(self.unfinished(step.name), ignore_errors=True)
        destination = self.objects / object_path(step.name)
        before = self.find(step.name)
        if before is not None:
            if made_in(before.result) == made_in(result):
                return
            if before.result.files == result.files:
                # The same bytes stay where they are linked to; the result says who made them last.
                (step / RESULT_FILE).replace(destination / RESULT_FILE)
                return
            self._evict(destination)
        destination.parent.mkdir(parents=True, exist_ok=True)
        for file in result.files:
            (step / OUTPUT_DIR / file.path).chmod(0o444)
        step.rename(destination)
        for file in result.files:
            self.digests.remember(destination / OUTPUT_DIR / file.path, file.sha256)

    def _whole(self, step: CachedStep) -> bool:
        paths = [step.output / file.path for file in step.result.files]
        try:
            return self.digests.files(paths) == [file.sha256 for file in step.result.files]
        except FileNotFoundError:
            return False

    def _evict(self, folder: Path) -> None:
        # Renamed first, so that another build sees the entry whole or not at all.
        doomed = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}.evicted")
        try:
            folder.rename(doomed)
        except FileNotFoundError:
            return
        shutil.rmtree(doomed, ignore_errors=True)

    def _lock(self, name: str) -> FileLock:
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{name}.lock")


def made_in(result: StepResult) -> str:
    """Return the runtime that made ``result``; empty if it came from elsewhere."""
    return result.origin.get("runtime", "")


def _unused(folder: Path) -> UnusedStep:
    try:
        name = read_result(folder).name
    except (OSError, ValidationError):
        name = "(damaged)"
    files = [path.stat() for path in folder.rglob("*") if path.is_file()]
    freed = sum(stat.st_size for stat in files if stat.st_nlink == 1)
    return UnusedStep(name, folder.name, freed)


def link_tree(source: Path, destination: Path) -> None:
    """Make ``destination`` a copy of ``source``: hard links, or copies across file systems."""
    for file in sorted(source.rglob("*")):
        target = destination / file.relative_to(source)
        if file.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, target)
        except OSError:
            shutil.copyfile(file, target)
