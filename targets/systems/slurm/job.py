"""A job of Slurm: read as it writes, fetched step by step, and ended for good."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pipeline.contract.events import EVENT, StepFailed
from pipeline.process.exit_codes import describe_exit
from targets.disk import CACHE_REMEDY
from targets.errors import EnvironmentUnable, PassFailed
from targets.foreign_text import one_line
from targets.systems.arrival import CutOff, Refused, unpack
from targets.systems.fetching import fetch_step
from targets.systems.slurm import login
from targets.systems.slurm.cluster import Cluster, SeenJob
from targets.systems.slurm.login import Dropped, Login
from targets.systems.slurm.script import BROKEN, ENDED, EVENTS, LOG, UNABLE, job_name
from targets.systems.system import JobGone, JobState, Piece, Say

_PIECE = 1 << 20
_LARGEST_LOG = 1 << 26
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_ASKED_EVERY = 5.0
"""Seconds after which Slurm is asked again what becomes of a job."""
_LAG_SECONDS = 10.0
"""How long the login machine may see less of the shared folder than the node that wrote."""
_FOUND = (
    'cd "$1" 2> /dev/null || exit 0; ls -a > /dev/null; echo there; '
    f"for name in slurm {ENDED} {UNABLE} {BROKEN}; do "
    '[ ! -e $name ] || { printf "%s " $name; head -c 1000 $name | head -n 1; echo; }; done'
)
TAKE_UNFINISHED = (
    'job=$1; kept=$2; shift 2; for name in "$@"; do '
    'mv "$kept/$name" "$job/$name" 2> /dev/null || mkdir "$job/$name" || exit 1; done'
)
"""Gives a job what earlier ones left of its steps."""
_LEAVE_UNFINISHED = (
    'umask 077; cd "$1" || exit 0; for name in unfinished-*; do '
    '[ -n "$(ls -A "$name" 2> /dev/null)" ] || continue; key=${name#unfinished-}; '
    'set -- "$1" "$2" work/"$key"*/result.json; [ ! -e "$3" ] || continue; '
    'mkdir -p "$2" && rm -rf "$2/$name" && mv "$name" "$2/$name"; done; true'
)
"""Keeps what steps of a job can go on with that are not finished."""
_LAST_LINE = 'tail -n 1 "$1" 2> /dev/null | head -c 10000'
_SAID_OF_OTHERS = (
    'grep \'^srun: error: \' "$1" | grep -v -w -e "$2" | head -n 1 | cut -c 14-500 || true'
)
"""What Slurm said of another node than one."""
_WORDS = {
    "CANCELLED": "somebody ended the job there",
    "NODE_FAIL": "the node that ran the job failed",
    "PREEMPTED": "the job had to make room for another one",
    "BOOT_FAIL": "the node of the job did not start",
    "DEADLINE": "the job would not have ended in its time",
}


@dataclass(frozen=True)
class _Found:
    """What lies in the folder of a job."""

    there: bool
    number: str
    exit_code: int | None
    unable: str
    broken: str
    """Of several nodes the first that failed, as the job's script has it."""


class SlurmJob:
    """The job whose folder is ``folder/jobs/ID``, and ``quern-ID`` to Slurm."""

    def __init__(
        self,
        job_id: str,
        folder: str,
        unfinished: str,
        way: Login,
        cluster: Cluster,
        max_hours: float,
        say: Say,
    ) -> None:
        """``unfinished`` is where steps find what earlier jobs left of them."""
        self.id = job_id
        self._folder = folder
        self._unfinished = unfinished
        self._login = way
        self._cluster = cluster
        self._max_hours = max_hours
        self._say = say
        self._number = ""
        self._stopped = False

    def attended(self) -> AbstractContextManager[None]:
        """Do nothing: Slurm lets it run until ``max_hours``."""
        return nullcontext()

    def detach(self) -> None:
        """Do nothing: it runs whether somebody waits for it or not."""

    def read(self, offset: str = "") -> Iterator[Piece]:
        """Yield its standard output; an offset is the number of bytes before it."""
        place = int(offset or 0)
        pause, asked, over, said = _SHORTEST_PAUSE, -_ASKED_EVERY, False, ""
        while True:
            found = self._found()
            if not found.there:
                raise JobGone
            over = over or found.exit_code is not None or bool(found.unable)
            if not over and time.monotonic() - asked > _ASKED_EVERY:
                asked = time.monotonic()
                seen = self._look(found)
                over = seen is None or seen.phase == "ended"
                said = self._tell(seen, said)
            data = self._read_from(place)
            if data:
                place += len(data)
                pause = _SHORTEST_PAUSE
                yield Piece(data, str(place))
            elif over:
                return
            else:
                time.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE)

    def read_log(self) -> Iterator[bytes]:
        """Yield what its process wrote to standard error."""
        script = 'tail -c "$2" "$1" 2> /dev/null || true'
        yield self._login.run(script, f"{self._folder}/{LOG}", str(_LARGEST_LOG)).encode()

    def state(self) -> JobState:
        """Return what Slurm says of it, and what it left at its end."""
        deadline = time.monotonic() + _LAG_SECONDS
        while True:
            found = self._found()
            if not found.there:
                return JobState("gone")
            if found.unable:
                return JobState("ended", error=found.unable)
            if other := self._other(found):
                return JobState("ended", error=other)
            killed = found.exit_code == -9
            if found.exit_code is not None and not killed:
                return JobState("ended", found.exit_code)
            seen = self._look(found)
            if seen is None:  # Slurm forgets jobs that are over
                return JobState("ended", found.exit_code) if killed else JobState("gone")
            if not killed and seen.phase != "ended":
                return JobState(seen.phase)
            if time.monotonic() > deadline or (
                seen.phase == "ended" and seen.state not in ("COMPLETED", "FAILED")
            ):
                return self._ended(seen, found)
            time.sleep(_SHORTEST_PAUSE)

    def stop(self) -> None:
        """End it; what it has finished stays. Callable from any thread."""
        self._stopped = True
        if self._number:
            self._cluster.begin_cancel(self._number)

    def collect(self, key: str, folder: Path) -> bool:
        """Fetch result and output of ``key``, as one or not at all."""
        if folder.exists():
            return True
        step = f"{self._folder}/work/{key}"
        if self._login.run('[ ! -d "$1" ] || echo there', step).strip() != "there":
            return False

        def part(name: str, into: Path, largest: int) -> None:
            pieces = self._login.pieces('tar -cf - -C "$1" "$2"', step, name)
            try:
                unpack(pieces, name, into, largest)
            except CutOff:
                raise Dropped("what it sent was not whole") from None
            except OSError as error:
                raise EnvironmentUnable(
                    f"what {self._login.name} sends cannot be kept: {error.strerror}", CACHE_REMEDY
                ) from error

        try:
            self._login.again(lambda: fetch_step(part, folder, self._login.name))
        except (Refused, login.Refused, ValidationError) as error:
            raise PassFailed(
                f"{self._login.name} has for {key[:12]} what no step leaves: {error}",
                "its result is not kept",
            ) from None
        return True

    def leave(self, key: str) -> None:  # noqa: ARG002 - the interface
        """Return nothing: all that a job makes comes here."""
        return

    def cancel(self) -> None:
        """End it, and remove its folder, but for what unfinished steps can go on with."""
        found = self._found()
        if not found.there:
            return
        number = found.number or self._cluster.number_of(job_name(self.id))
        if number and found.exit_code is None and not found.unable:
            self._cluster.cancel(number)
        self._login.run(_LEAVE_UNFINISHED, self._folder, self._unfinished)
        self._login.run('rm -rf "$1" || { sleep 2; rm -rf "$1"; }', self._folder)

    def _found(self) -> _Found:
        written = self._login.run(_FOUND, self._folder).split("\n")
        lines = dict(line.partition(" ")[::2] for line in written if line.strip())
        self._number = lines.get("slurm", "").strip() or self._number
        code = lines.get(ENDED, "").strip()
        return _Found(
            "there" in lines,
            self._number,
            _exit_code(code) if code else None,
            one_line(lines.get(UNABLE, "")),
            one_line(lines.get(BROKEN, "")),
        )

    def _other(self, found: _Found) -> str:
        """Return which of several nodes failed, and why, if it was not the first one."""
        if found.exit_code is None or found.broken.count(" ") != 3:
            return ""
        number, node, code, nodes = found.broken.split(" ")
        failed = self._last_failure(EVENTS if number == "0" else f"{EVENTS}-{number}")
        if failed is not None and failed.cause == "peer":
            others = self._login.run(_SAID_OF_OTHERS, f"{self._folder}/{LOG}", node)
            why = one_line(others) or "the log has what each of them said"
            return f"of the nodes {nodes} of the training, another one than {node} ended: {why}"
        if number == "0":
            return ""
        why = f"its process {_how(code)}" if failed is None else one_line(failed.message)
        return f"{node}, one of the nodes {nodes} of the training, failed: {why}"

    def _last_failure(self, events: str) -> StepFailed | None:
        last = self._login.run(_LAST_LINE, f"{self._folder}/{events}")
        try:
            event = EVENT.validate_json(last)
        except ValidationError:
            return None
        return event if isinstance(event, StepFailed) else None

    def _look(self, found: _Found) -> SeenJob | None:
        number = found.number or self._cluster.number_of(job_name(self.id))
        return self._cluster.look(number) if number else None

    def _read_from(self, place: int) -> bytes:
        script = '[ ! -e "$1" ] || tail -c "+$2" "$1" | head -c "$3"'
        file = f"{self._folder}/{EVENTS}"
        return self._login.again(
            lambda: b"".join(self._login.pieces(script, file, str(place + 1), str(_PIECE)))
        )

    def _tell(self, seen: SeenJob | None, said: str) -> str:
        """Say how far it is if that was not ``said``. Raises ``EnvironmentUnable`` for a job that
        will never start."""
        if seen is None or seen.phase == "ended":
            return said
        if seen.never_starts:
            raise EnvironmentUnable(
                f"Slurm of {self._login.name} will not start the job: {seen.reason}",
                "mend `max_hours`, `partition`, `gres` or `options`, or ask who runs the cluster; "
                "the job is ended",
            )
        waits = seen.phase == "queued"
        why = "" if seen.reason == "None" else f" ({seen.reason})"
        line = f"waits{why}" if waits else seen.state.lower()
        if line != said:
            self._say(f"{self._login.name}: the job {self._number} {'' if waits else 'is '}{line}")
        return line

    def _ended(self, seen: SeenJob, found: _Found) -> JobState:
        if seen.state == "OUT_OF_MEMORY":
            return JobState("ended", found.exit_code or -9, out_of_memory=True)
        if found.exit_code is not None or self._stopped:
            return JobState("ended", found.exit_code if found.exit_code is not None else 1)
        if seen.state == "TIMEOUT":
            why = f"the job took longer than the {self._max_hours:g} hours of `max_hours`"
        else:
            why = _WORDS.get(seen.state, "")
        if why and (down := self._cluster.down(seen.nodes)):
            why = f"{why}: {down}"
        if why:
            return JobState("ended", error=f"{why} ({seen.state})")
        return JobState(
            "ended",
            error=f"the job ended before it had begun ({seen.state}): can the nodes read and write "
            f"{self._folder}? {self._last_words()}".rstrip(),
        )

    def _last_words(self) -> str:
        lines = b"".join(self.read_log()).decode("utf-8", "replace").strip().split("\n")
        return one_line(lines[-1])


def _how(text: str) -> str:
    code = _exit_code(text)
    return describe_exit(code) if code < 0 else f"ended with {describe_exit(code)}"


def _exit_code(text: str) -> int:
    """Return the exit code as ``subprocess`` has it, from that of a shell."""
    if not text.isdecimal():
        return 1
    code = int(text)
    return 128 - code if code > 128 else code
