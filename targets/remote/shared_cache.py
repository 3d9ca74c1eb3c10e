"""A shared cache as a build uses it: what it knows, what comes from it, and what goes to it.

In the folder ``shared/<address>/`` of the cache of this machine::

    records/<key>.json    records that were used, so that they are not asked for again
    there/<key>           of what was brought to it, or came from it, and when that was seen

Nothing that happens to the shared cache fails a build. What failed is said once, with a remedy.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from pipeline.contract.plan import OUTPUT_DIR, Step
from pipeline.contract.result import RESULT_FILE, StepResult
from pipeline.contract.schema import SharedCacheTable
from pipeline.contract.sha256 import sha256_of_bytes
from targets.atomic import remove_tree, replace_file
from targets.cache import Cache, CachedStep
from targets.disk import CACHE_REMEDY, Need, may_write, require_room
from targets.errors import EnvironmentUnable, PassFailed
from targets.figures import size
from targets.intake import take_in
from targets.remote.arrival import Arrival, BlobLost
from targets.remote.background import in_background
from targets.remote.departure import LONGEST_BUILD, Changed, Departure
from targets.remote.failure import RemoteFailed, RemoteRefused
from targets.remote.pusher import Pusher
from targets.remote.record import (
    LARGEST,
    Came,
    Record,
    RecordRefused,
    read_record,
    result_path,
    write_record,
)
from targets.remote.store import Store, Stored

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

    from targets.signatures.signing import Trusted

SIGN_KEY = "QUERN_CACHE_SIGN_KEY"
"""Variable that names the file of the private key with which results are signed."""
_SIDE_BY_SIDE = 8


class SharedCache:
    """The shared cache of one config."""

    def __init__(
        self,
        table: SharedCacheTable,
        trust: Iterable[Path],
        cache: Cache,
        say: Callable[[str], None],
    ) -> None:
        """``trust`` are the files of the keys that must have signed; ``say`` shows a line."""
        self._table = table
        self._trust = tuple(trust)
        self._cache = cache
        self._say = say
        self._store = Store(table.remote)
        self._notes = cache.root / "shared" / sha256_of_bytes(table.remote.encode())[:16]
        self._records: dict[str, tuple[Record, str] | None] = {}
        """Records that may be used, with their envelopes."""
        self._replaceable: dict[str, Stored] = {}
        """Records that are not used, and that a better one may replace."""
        self._damaged: set[str] = set()
        self._pusher = Pusher(say)
        self._off = False
        self._read_only = False
        self.brought: set[str] = set()
        """Keys of the steps whose outputs came from it."""

    @property
    def checkpoints(self) -> bool:
        """Return whether merged checkpoints travel as well."""
        return self._table.checkpoints

    @cached_property
    def _trusted(self) -> tuple[Trusted, ...]:
        from targets.signatures.signing import trusted_file

        return tuple(map(trusted_file, self._trust))

    @cached_property
    def _signer(self) -> Signer | None:
        file = os.environ.get(SIGN_KEY)
        if not file:
            return None
        from targets.signatures.signing import signer_of_file

        return signer_of_file(Path(file).expanduser(), os.environ.get("QUERN_SIGN_PASSWORD"))

    @cached_property
    def pushes(self) -> bool:
        """Return whether results are brought to it. Raises ``ConfigError`` for a wrong key."""
        if not self._table.push or not may_write(self._cache.root):
            return False
        if not self._trust:
            return True
        if self._signer is None:
            return False  # who only reads has no key
        from targets.signatures.signing import require_trusted

        require_trusted(self._signer, self._trusted, Path(os.environ[SIGN_KEY]), SIGN_KEY)
        return True

    # What comes from it.

    def vouches_for(self, kept: CachedStep) -> bool:
        """Return whether a result in the cache of this machine that came from a shared one would
        come from this one as well: from its address or, where keys are trusted, signed by one of
        them. What another config takes from elsewhere decides nothing here."""
        try:
            came = Came.model_validate_json(kept.came)
            if not self._trust:
                return came.remote == self._table.remote
            record = read_record(came.record.encode(), kept.result.key, self._trusted)
        except (ValidationError, RecordRefused):
            return False
        return record.result.files == kept.result.files

    def find(self, keys: Iterable[str]) -> dict[str, Record]:
        """Return the records of those steps among ``keys`` that it has and that may be used."""
        wanted = list(dict.fromkeys(keys))
        asked = [key for key in wanted if key not in self._records and not self._remembered(key)]
        if asked and not self._off:
            self._trusted  # noqa: B018 - a wrong key file is said before anything is asked
            try:
                in_background(self._ask, asked, _SIDE_BY_SIDE)
            except RemoteFailed as failed:
                self._give_up(failed)
        return {key: found[0] for key in wanted if (found := self._records.get(key)) is not None}

    def bring(self, step: Step) -> bool:
        """Fetch the output of ``step`` into the cache of this machine; return whether that was
        possible. If not, :meth:`find` does not know it any more.

        Raises ``EnvironmentUnable`` where the disk here has no room for it.
        """
        found = self._records.get(step.key)
        if found is None or not found[0].output:
            return False
        if self._off:
            self._records[step.key] = None
            return False
        with self._cache.locked([step.key], self._say_waiting):
            kept = self._cache.find(step.key)
            if kept is not None and (not kept.came or self.vouches_for(kept)):
                return True
            try:
                self._fetch(step, *found)
            except RemoteFailed as failed:
                self._give_up(failed)
            except (BlobLost, PassFailed) as lost:
                if isinstance(lost, BlobLost):
                    self._damaged.add(lost.sha256)
                self._say(
                    f"warning: {step.name} of the shared cache is not used: {lost}. "
                    "It is made here; a build with `push = true` replaces it there"
                )
            else:
                self.brought.add(step.key)
                self._note(step.key)
                return True
        self._records[step.key] = None
        self._record_file(step.key).unlink(missing_ok=True)
        return False

    def _fetch(self, step: Step, record: Record, envelope: str) -> None:
        folder = self._cache.incoming(step.key)
        arrival = Arrival(self._store, folder.with_name(f"{step.key}.parts"), self._say)
        files = record.result.files
        left = arrival.left(files)
        require_room([Need(self._cache.root, left, "what the shared cache sends", CACHE_REMEDY)])
        if left > 10 * 1000**2:
            self._say(f"fetching {step.name} from the shared cache: {size(left)}")
        try:
            arrival.fetch(files)
            arrival.arrange(files, folder / OUTPUT_DIR)
            result = record.result.model_copy(update={"name": step.name})
            replace_file(folder / RESULT_FILE, result.model_dump_json(indent=1) + "\n")
            came = Came(remote=self._table.remote, record=envelope)
            self._cache.receive(step, record.result.origin, came.model_dump_json())
        except OSError as error:
            arrival.forget()
            raise EnvironmentUnable(
                f"{step.name} cannot be taken from the shared cache: "
                f"{error.strerror or error} at {self._cache.root}",
                CACHE_REMEDY,
            ) from error
        except (BlobLost, PassFailed):
            arrival.forget()
            raise
        finally:
            remove_tree(folder)
        arrival.forget()

    def _ask(self, key: str) -> None:
        found = self._store.read(result_path(key), LARGEST)
        if found is None:
            self._records[key] = None
            return
        content, stored = found
        self._replaceable[key] = stored
        try:
            record = read_record(content, key, self._trusted)
        except RecordRefused as why:
            self._say(f"warning: a result of the shared cache is not used ({key[:12]}): {why}")
            self._records[key] = None
            self._there(key).unlink(missing_ok=True)  # so that a better one is brought
            return
        envelope = content.decode()
        self._records[key] = record, envelope
        if may_write(self._cache.root):
            file = self._record_file(key)
            file.parent.mkdir(parents=True, exist_ok=True)
            replace_file(file, envelope)

    def _remembered(self, key: str) -> bool:
        """Take the record of ``key`` that was used before; return whether there is one."""
        try:
            content = self._record_file(key).read_bytes()
            self._records[key] = read_record(content, key, self._trusted), content.decode()
        except (OSError, RecordRefused):
            return False
        return True

    # What goes to it.

    def push_kept(self, step: Step, travels: bool) -> None:
        """Bring the finished ``step`` of the cache to it, in the background, unless it is there.

        ``travels`` is whether its output goes with its result.
        """
        if self.pushes and not self._is_noted(step.key):
            self._pusher.add(partial(self._guarded, self._push_kept, step, travels))

    def push_result(self, step: Step, result: StepResult) -> None:
        """Bring the ``result`` of ``step`` to it like that, whose output is on another machine."""
        if self.pushes and not self._is_noted(step.key):
            job = partial(self._push, result=result, output=Path())
            self._pusher.add(partial(self._guarded, job, step, travels=False))

    def push_written(self, step: Step, folder: Path, origin: dict[str, str], travels: bool) -> None:
        """Bring ``step`` to it, in the background, from the ``folder`` that its process has just
        left: what runs after it in that process may take hours."""
        if self.pushes and not self._is_noted(step.key):
            job = partial(self._push_written, folder=folder, origin=origin)
            self._pusher.add(partial(self._guarded, job, step, travels))

    def finish(self) -> None:
        """Wait for what is on its way, as long as it gets on."""
        if not self._pusher.finish():
            self._say(
                "warning: the shared cache did not take everything in time; the next build goes on"
            )

    def stop(self) -> None:
        """Wait for nothing: the next build goes on."""
        self._pusher.stop()

    def _guarded(self, job: Callable[[Step, bool], None], step: Step, travels: bool) -> None:
        if self._off or self._read_only or self._is_noted(step.key):
            return
        try:
            job(step, travels)
        except RemoteRefused as refused:
            self._bring_nothing(refused)
        except RemoteFailed as failed:
            self._give_up(failed)
        except (OSError, PassFailed, Changed):
            return  # it was moved meanwhile, and follows from where it is
        except Exception as error:  # a thread has nobody to raise it to
            self._say(f"warning: {step.name} was not brought to the shared cache: {error!r}")

    def _push_kept(self, step: Step, travels: bool) -> None:
        kept = self._cache.find(step.key)
        if kept is not None:
            self._push(step, travels, kept.result, kept.output)

    def _push_written(
        self, step: Step, travels: bool, folder: Path, origin: dict[str, str]
    ) -> None:
        self._push(step, travels, take_in(step, folder, origin), folder / OUTPUT_DIR)

    def _push(self, step: Step, travels: bool, result: StepResult, output: Path) -> None:
        if result.provisional or any(verdict.status == "failed" for verdict in result.verdicts):
            return
        path = result_path(step.key)
        found = self._store.read(path, LARGEST)
        if found is not None and not self._may_replace(found, step.key, travels):
            unused = self._store.now() - found[1].modified
            if unused > LONGEST_BUILD:  # `clean --remote` shall see that it is in use
                self._store.create(path, *found)
            self._note(step.key)
            return
        if travels:
            Departure(self._store, self._damaged, self._pusher.moved).send(result, output)
        content = write_record(Record(result=result, output=travels), self._signer)
        # Where another was quicker its result stays: it is as right as this one.
        self._store.create(path, content, found[1] if found is not None else None)
        self._note(step.key)

    def _may_replace(self, found: tuple[bytes, Stored], key: str, travels: bool) -> bool:
        """Return whether a record in the store gives way: it cannot be used, or lacks an output."""
        try:
            record = read_record(found[0], key, self._trusted)
        except RecordRefused:
            return True
        if travels and not record.output:
            return True
        return not self._damaged.isdisjoint(file.sha256 for file in record.result.files)

    # What is noted of it.

    def _give_up(self, failed: RemoteFailed) -> None:
        if not self._off:
            self._off = True
            self._say(f"warning: {failed}; Quern goes on without it ({failed.advice})")

    def _bring_nothing(self, refused: RemoteRefused) -> None:
        self._read_only = True
        self._say(f"warning: {refused}; nothing is brought to it ({refused.advice})")

    def _record_file(self, key: str) -> Path:
        return self._notes / "records" / f"{key}.json"

    def _there(self, key: str) -> Path:
        return self._notes / "there" / key

    def _note(self, key: str) -> None:
        file = self._there(key)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()

    def _is_noted(self, key: str) -> bool:
        """Return whether it is known to be there. After a week that is looked at again: somebody
        may have made room."""
        try:
            noted = self._there(key).stat().st_mtime
        except OSError:
            return False
        return time.time() - noted < LONGEST_BUILD.total_seconds()

    def _say_waiting(self, _key: str) -> None:
        self._say("another build fetches or makes the same step; waiting for it to finish")
