"""The content-addressed store of step results, shared by all builds and targets.

In the cache folder::

    objects/<k[:2]>/<key>/result.json   a finished step (see pipeline.contract.result)
    objects/<k[:2]>/<key>/output/       its output
    work/<run>/<n>/                     what one running process writes; its steps are moved out
    work/<run>/<n>.json                 which steps these may be, where no process can write
    unfinished/<key>/                   files with which an unfinished step can continue
    locks/                              one lock per key, and one per run
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError

from pipeline.contract.frozen import Frozen
from pipeline.contract.plan import OUTPUT_DIR, Step, object_path
from pipeline.contract.result import RESULT_FILE, StepResult, read_result
from targets.atomic import remove_tree, replace_file
from targets.digests import Digests
from targets.errors import PassFailed
from targets.intake import take_in


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
        """Return the finished step ``key`` if all its files exist and match their digests, and no
        others are there.

        A damaged entry (a file edited or added by hand, a broken disk) is removed.
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
        with suppress(OSError):  # a read-only cache of another user
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
            # Locks are taken in the same order by all builds, so that two cannot deadlock.
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
        """Yield a fresh work folder; steps that were finished in it are kept even if the caller
        fails."""
        run = uuid.uuid4().hex[:12]
        folder = self.root / "work" / run
        with self._lock(f"run-{run}"):
            folder.mkdir(parents=True)
            try:
                yield folder
            finally:
                self._keep_finished(folder)
                remove_tree(folder)

    def begin(self, work: Path, steps: Iterable[Step], origin: Mapping[str, str]) -> Path:
        """Return an empty folder in ``work`` for one process: the only results that are taken from
        it are those of ``steps``. ``origin`` is where the process runs."""
        expected = _Expected(steps=tuple(steps), origin=dict(origin))
        number = len(list(work.glob("*.json")))
        replace_file(work / f"{number}.json", expected.model_dump_json())
        folder = work / str(number)
        folder.mkdir()
        return folder

    def finish(self, folder: Path) -> tuple[StepResult, ...]:
        """Keep what the process of ``folder`` left and return the results of its steps, in order.

        Raises ``PassFailed`` where one is missing, or is not what a step leaves.
        """
        expected = _Expected.model_validate_json(folder.with_suffix(".json").read_bytes())
        return tuple(self._keep(step, folder, expected.origin) for step in expected.steps)

    @contextmanager
    def view(self, keys: Iterable[str]) -> Iterator[Path]:
        """Yield a folder like :attr:`objects` with the finished steps ``keys`` alone."""
        with self.scratch_folder() as folder:
            for key in sorted(set(keys)):
                place = object_path(key)
                link_tree(self.objects / place, folder / place)
            yield folder

    @contextmanager
    def scratch_folder(self) -> Iterator[Path]:
        """Yield a fresh folder that is removed afterwards."""
        folder = self.root / "scratch" / uuid.uuid4().hex
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            remove_tree(folder)

    def recover(self) -> None:
        """Keep the finished steps of runs whose driver was killed, and remove their folders."""
        for folder in sorted((self.root / "work").glob("*")):
            lock = self._lock(f"run-{folder.name}")
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            try:
                self._keep_finished(folder)
                remove_tree(folder)
            finally:
                lock.release()

    def _keep_finished(self, work: Path) -> None:
        """Keep the steps that were finished before a process ended otherwise than it should."""
        for file in sorted(work.glob("*.json")):
            with suppress(OSError, ValidationError):
                expected = _Expected.model_validate_json(file.read_bytes())
                folder = file.with_suffix("")
                for step in expected.steps:
                    if (folder / step.key / RESULT_FILE).exists():
                        with suppress(PassFailed):
                            self._keep(step, folder, expected.origin)

    def _keep(self, step: Step, folder: Path, origin: Mapping[str, str]) -> StepResult:
        """Take in the result of ``step``; keep it, unless a limit was missed: the next build
        measures that anew."""
        written = folder / step.key
        result = take_in(step, written, origin)
        if any(verdict.status == "failed" for verdict in result.verdicts):
            return result
        remove_tree(self.unfinished(step.key))
        destination = self.objects / object_path(step.key)
        before = self.find(step.key)
        if before is not None:
            if runtime_of(before.result) == runtime_of(result):
                return before.result
            if before.result.files == result.files:
                # Equal bytes stay in place; only the result, with its origin, is replaced.
                replace_file(destination / RESULT_FILE, result.model_dump_json(indent=1) + "\n")
                return result
            self._evict(destination)
        replace_file(written / RESULT_FILE, result.model_dump_json(indent=1) + "\n")
        destination.parent.mkdir(parents=True, exist_ok=True)
        written.rename(destination)
        for file in result.files:
            self.digests.remember(destination / OUTPUT_DIR / file.path, file.sha256)
        return result

    def _whole(self, step: CachedStep) -> bool:
        paths = [step.output / file.path for file in step.result.files]
        there = {path for path in step.output.rglob("*") if not path.is_dir() or path.is_symlink()}
        if there != {*paths}:
            return False
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
        remove_tree(doomed)

    def _lock(self, name: str) -> FileLock:
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{name}.lock")


class _Expected(Frozen):
    """The steps of one process and where it runs, noted before it starts."""

    steps: tuple[Step, ...]
    origin: dict[str, str]


def runtime_of(result: StepResult) -> str:
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
