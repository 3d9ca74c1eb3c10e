"""The content-addressed store of step results, shared by all builds and targets.

In the cache folder::

    objects/<k[:2]>/<key>/result.json   a finished step (see pipeline.contract.result)
    objects/<k[:2]>/<key>/output/       its output
    objects/<k[:2]>/<key>/came.json     what a shared cache said of it, if it came from one
    work/<run>/<n>/                     what one running process writes; its steps are moved out
    work/<run>/<n>.json                 which steps these may be, where no process can write
    unfinished/<key>/                   files with which an unfinished step can continue
    scratch/<run>/                      what one driver puts together for a process
    resumable/<name>/                   a rebuild that the user stopped, for a week
    in-use/<run>.json                   the keys that a running build reads or makes
    locks/                              one lock per key and per run, while it is held
    modules/<copy of Quern>.json        what its modules say (see targets.planner.known_code)
    rows/<key>.json                     what was found in the rows of data (see targets.known_rows)
    outlines/                           what hubs said of models that are not fetched yet
    incoming/<key>/                     what a shared cache has sent so far of a step
    shared/<remote>/                    what is known of a shared cache (see targets.remote)
    jobs/, left/                        what is known of other machines (see targets.systems)
"""

from __future__ import annotations

import json
import os
import stat
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pydantic import ValidationError

from pipeline.contract.frozen import Frozen
from pipeline.contract.plan import OUTPUT_DIR, Step, object_path
from pipeline.contract.result import RESULT_FILE, StepResult, read_result
from targets.atomic import link_or_copy, remove_partial_files, remove_tree, replace_file
from targets.digests import Digests
from targets.disk import may_write
from targets.errors import Interrupted, PassFailed
from targets.intake import take_in
from targets.locks import HeldElsewhere, locked

_IN_USE = "in-use"
_RESUMABLE = "resumable"
_UNFINISHED = "unfinished"
_RESUMABLE_SECONDS = 7 * 24 * 3600
_NOTE_SECONDS = 3600
"""In which a note is read, since it was made."""
_EVICTED = ".evicted"
_CAME = "came.json"


@dataclass(frozen=True)
class CachedStep:
    """A finished step in the cache, or in a shared one."""

    folder: Path
    result: StepResult
    elsewhere: Literal["", "shared", "left"] = ""
    """Where its output is, if not here: in the shared cache, or on the system that made it."""

    @property
    def output(self) -> Path:
        """Return the output folder of the step."""
        return self.folder / OUTPUT_DIR

    @property
    def came(self) -> bytes:
        """Return the note with which it was received from a shared cache; empty if it was made on
        this machine, or for it."""
        try:
            return (self.folder / _CAME).read_bytes()
        except OSError:
            return b""


@dataclass(frozen=True)
class UnusedStep:
    """A finished step in the cache that no build has used lately, or what one that was interrupted
    left to go on with."""

    name: str
    key: str
    folder: Path
    build: str
    """Name of the build that made it; empty if that is not known."""
    used: float
    """When a build last used it, in seconds since the epoch."""
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

    @property
    def outlines(self) -> Path:
        """Return the folder of what hubs said of models that are not fetched yet."""
        return self.root / "outlines"

    @property
    def rows(self) -> Path:
        """Return the folder of what was found in the rows of data sets."""
        return self.root / "rows"

    @property
    def pages(self) -> Path:
        """Return the folder of what is known of rendered pages."""
        return self.root / "pages"

    def unfinished(self, key: str) -> Path:
        """Return the folder with the files from which the step ``key`` can continue."""
        return self.root / _UNFINISHED / key

    def find(self, key: str) -> CachedStep | None:
        """Return the finished step ``key`` if its files are just those that it lists, with their
        digests.

        A damaged entry (a file edited through a link in ``dist/``, a folder where a file should
        be, a broken disk) is removed.
        """
        folder = self.objects / object_path(key)
        try:
            if not stat.S_ISREG((folder / RESULT_FILE).lstat().st_mode):
                raise IsADirectoryError
            result = read_result(folder)
        except FileNotFoundError:
            return None
        except (OSError, ValidationError):
            self._evict(folder)
            return None
        step = CachedStep(folder, result)
        if not self._whole(step):
            self._evict(folder)
            return None
        with suppress(OSError):  # a read-only cache of another user
            os.utime(folder)
        return step

    def incoming(self, key: str) -> Path:
        """Return the folder in which the step ``key`` arrives from a shared cache."""
        return self.root / "incoming" / key

    def receive(self, step: Step, origin: Mapping[str, str], came: str) -> StepResult:
        """Keep the step that has arrived in :meth:`incoming`, and whose lock the caller holds, with
        the note ``came`` of who vouches for it (:attr:`CachedStep.came`).

        Raises ``PassFailed`` where it is not what a step leaves.
        """
        return self._keep(step, self.root / "incoming", origin, came)

    def unused_since(self, moment: float) -> tuple[UnusedStep, ...]:
        """Return the finished and the interrupted steps that were last used before ``moment``
        (seconds since the epoch), the longest unused first."""
        used: dict[Path, float] = {}
        for folder in self.objects.glob("*/*"):
            with suppress(FileNotFoundError):  # another build removes it
                used[folder] = folder.lstat().st_mtime
        for folder in (self.root / _UNFINISHED).glob("*"):
            with suppress(FileNotFoundError):
                used[folder] = max(path.lstat().st_mtime for path in (folder, *folder.glob("*")))
        unused = sorted((time, folder) for folder, time in used.items() if time < moment)
        return tuple(_unused(folder, time) for time, folder in unused)

    def remove(self, step: UnusedStep) -> bool:
        """Remove such a step; return whether that was possible. It stays where a running build
        reads it or makes it anew."""
        with suppress(HeldElsewhere), self._lock(_IN_USE), self._lock(step.key, blocking=False):
            if step.key not in self._keys_in_use():
                self._evict(step.folder)
                return True
        return False

    @contextmanager
    def in_use(self, keys: Iterable[str]) -> Iterator[None]:
        """Keep the finished steps ``keys`` from being removed by others while the block runs."""
        if not may_write(self.root):
            yield
            return
        run = uuid.uuid4().hex[:12]
        file = self.root / _IN_USE / f"{run}.json"
        with ExitStack() as stack:
            with self._lock(_IN_USE):
                file.parent.mkdir(exist_ok=True)
                stack.enter_context(self._lock(f"run-{run}"))
                stack.callback(file.unlink, missing_ok=True)
                replace_file(file, json.dumps(sorted(set(keys))))
            yield

    def _keys_in_use(self) -> set[str]:
        """Return the keys that running builds read or make. Notes of killed ones are removed, with
        the locks that they had."""
        keys: set[str] = set()
        for file in (self.root / _IN_USE).glob("*.json"):
            noted = _noted(file)
            try:
                with self._lock(f"run-{file.stem}", blocking=False):
                    file.unlink(missing_ok=True)
            except HeldElsewhere:
                keys |= noted
                continue
            for key in sorted(noted):
                with suppress(HeldElsewhere), self._lock(key, blocking=False):
                    pass  # its file goes with it
        return keys

    def forget(self, key: str) -> None:
        """Remove the finished step ``key``, whose lock the caller holds."""
        self._evict(self.objects / object_path(key))

    @contextmanager
    def locked(self, keys: Iterable[str], waiting: Callable[[str], None]) -> Iterator[None]:
        """Hold the locks of ``keys``; ``waiting`` is called once if another build holds one."""
        announced: list[str] = []

        def announce(key: str) -> None:
            if not announced:
                announced.append(key)
                waiting(key)

        with ExitStack() as stack:
            # Locks are taken in the same order by all builds, so that two cannot deadlock.
            for key in sorted(set(keys)):
                stack.enter_context(self._lock(key, partial(announce, key)))
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

    def finish(
        self, folder: Path, left: Mapping[str, StepResult] = MappingProxyType({})
    ) -> tuple[StepResult, ...]:
        """Keep what the process of ``folder`` left and return the results of its steps, in order.
        ``left`` has those, by key, whose outputs are on another machine.

        Raises ``PassFailed`` where one is missing, or is not what a step leaves.
        """
        expected = _Expected.model_validate_json(folder.with_suffix(".json").read_bytes())
        return tuple(
            left[step.key]
            if step.key in left and not (folder / step.key).exists()
            else self._keep(step, folder, expected.origin)
            for step in expected.steps
        )

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
        run = uuid.uuid4().hex[:12]
        folder = self.root / "scratch" / run
        with self._lock(f"run-{run}"):
            folder.mkdir(parents=True)
            try:
                yield folder
            finally:
                remove_tree(folder)

    @contextmanager
    def resumable_folder(self, name: str) -> Iterator[Path]:
        """Yield the folder ``name``, which is removed afterwards unless the user stopped it: then
        the next one goes on with what is in it. While another process has it, yield a fresh one."""
        folder = self.root / _RESUMABLE / name
        with ExitStack() as stack:
            try:
                stack.enter_context(self._lock(f"{_RESUMABLE}-{name}", blocking=False))
            except HeldElsewhere:
                yield stack.enter_context(self.scratch_folder())
                return
            folder.mkdir(parents=True, exist_ok=True)
            try:
                yield folder
            except Interrupted:
                raise
            except BaseException:
                remove_tree(folder)
                raise
            remove_tree(folder)

    def recover(self) -> None:
        """Keep the finished steps of runs whose driver was killed, and remove what else they left:
        folders, notes and locks."""
        if not may_write(self.root):
            return
        self._remove_resumable(time.time() - _RESUMABLE_SECONDS)
        with self._lock(_IN_USE):
            remove_partial_files(self.root / _IN_USE)
            self._keys_in_use()
        for doomed in self.objects.glob(f"*/*{_EVICTED}"):
            remove_tree(doomed)
        left = [*(self.root / "work").glob("*"), *(self.root / "scratch").glob("*")]
        for folder in sorted(left):
            with suppress(HeldElsewhere), self._lock(f"run-{folder.name}", blocking=False):
                self._keep_finished(folder)
                remove_tree(folder)

    def remove_notes(self, before: float) -> None:
        """Remove what hubs said of models, what was found in rows, and what is known of pages, that
        was noted before ``before`` (seconds of the epoch) and not just now: somebody may read it.
        """
        before = min(before, time.time() - _NOTE_SECONDS)
        for note in (*self.outlines.glob("*"), *self.rows.glob("*"), *self.pages.glob("*")):
            with suppress(OSError):  # another command removes it
                if note.stat().st_mtime < before:
                    remove_tree(note)

    def _remove_resumable(self, before: float) -> None:
        """Remove the folders with which nobody went on since ``before`` (seconds of the epoch)."""
        for folder in (self.root / _RESUMABLE).glob("*"):
            lock = self._lock(f"{_RESUMABLE}-{folder.name}", blocking=False)
            with suppress(HeldElsewhere, OSError), lock:
                if folder.stat().st_mtime < before:
                    remove_tree(folder)

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

    def _keep(
        self, step: Step, folder: Path, origin: Mapping[str, str], came: str = ""
    ) -> StepResult:
        """Take in the result of ``step``; keep it, unless a limit was missed: the next build
        measures that anew. What is made here takes the place of what came from elsewhere."""
        written = folder / step.key
        result = take_in(step, written, origin)
        remove_tree(self.unfinished(step.key))
        if any(verdict.status == "failed" for verdict in result.verdicts):
            return result
        destination = self.objects / object_path(step.key)
        before = self.find(step.key)
        if before is not None and not before.came:
            if runtime_of(before.result) == runtime_of(result):
                return before.result
            if before.result.files == result.files:
                # Equal bytes stay in place; only the result, with its origin, is replaced.
                replace_file(destination / RESULT_FILE, result.model_dump_json(indent=1) + "\n")
                return result
        self._evict(destination)  # other bytes, or what is left of a result
        replace_file(written / RESULT_FILE, result.model_dump_json(indent=1) + "\n")
        if came:
            replace_file(written / _CAME, came)
        if destination.parent.exists() and not destination.parent.is_dir():
            destination.parent.unlink()
        destination.parent.mkdir(parents=True, exist_ok=True)
        written.rename(destination)
        for file in result.files:
            self.digests.remember(destination / OUTPUT_DIR / file.path, file.sha256)
        return result

    def _whole(self, step: CachedStep) -> bool:
        listed = {step.output / file.path: file.sha256 for file in step.result.files}
        try:
            found = {path: path.lstat().st_mode for path in step.output.rglob("*")}
            files = {path for path, mode in found.items() if not stat.S_ISDIR(mode)}
            if files != listed.keys() or not all(stat.S_ISREG(found[path]) for path in files):
                return False
            return self.digests.files(listed) == list(listed.values())
        except OSError:  # a file is gone, a folder in its place, or the disk cannot be read
            return False

    def _evict(self, folder: Path) -> None:
        # Renamed first, so that another build sees the entry whole or not at all.
        doomed = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}{_EVICTED}")
        try:
            folder.rename(doomed)
        except (FileNotFoundError, NotADirectoryError):
            return
        remove_tree(doomed)

    def _lock(
        self, name: str, waiting: Callable[[], None] | None = None, *, blocking: bool = True
    ) -> AbstractContextManager[None]:
        return locked(self.root / "locks" / f"{name}.lock", waiting, blocking=blocking)


class _Expected(Frozen):
    """The steps of one process and where it runs, noted before it starts."""

    steps: tuple[Step, ...]
    origin: dict[str, str]


def runtime_of(result: StepResult) -> str:
    """Return the runtime that made ``result``; empty if it came from elsewhere."""
    return result.origin.get("runtime", "")


def _noted(file: Path) -> set[str]:
    """Return the keys in the note of a build; none if it is not whole."""
    try:
        return set(json.loads(file.read_bytes()))
    except (OSError, ValueError):
        return set()


def _unused(folder: Path, used: float) -> UnusedStep:
    try:
        result = read_result(folder)
        name, build = result.name, result.origin.get("build", "")
    except (OSError, ValidationError):
        name, build = "(interrupted)" if folder.parent.name == _UNFINISHED else "(damaged)", ""
    files = [path.stat() for path in folder.rglob("*") if path.is_file()]
    freed = sum(stat.st_size for stat in files if stat.st_nlink == 1)
    return UnusedStep(name, folder.name, folder, build, used, freed)


def link_tree(source: Path, destination: Path) -> None:
    """Make ``destination`` a copy of ``source``: hard links, or copies across file systems."""
    for file in sorted(source.rglob("*")):
        target = destination / file.relative_to(source)
        if file.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(file, target)
