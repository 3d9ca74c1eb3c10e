"""Slurm's own commands, as the login machine has them, and what they say."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from targets.errors import EnvironmentUnable
from targets.systems.slurm.login import Dropped, Login, Refused

Phase = Literal["queued", "running", "ended"]

_WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT")
_OVER = (
    *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY"),
    *("BOOT_FAIL", "DEADLINE", "REVOKED"),
)
_NEVER = (
    *("PartitionTimeLimit", "PartitionNodeLimit", "BadConstraints", "PartitionInactive"),
    *("JobHeldUser", "JobHeldAdmin", "InvalidAccount", "InvalidQOS", "AccountNotAllowed"),
    *("QOSNotAllowed", "AssocMaxWallDurationPerJobLimit", "QOSMaxWallDurationPerJobLimit"),
)
"""Reasons for which a job waits that do not pass by themselves."""
_AWAY = re.compile(r"contact slurm|timed out|connection refused|try again", re.IGNORECASE)
"""What Slurm's commands say when its controller does not answer."""
_UNKNOWN_JOB = "invalid job id"
_END_SECONDS = 180
_LOOK_AGAIN_SECONDS = 0.5


@dataclass(frozen=True)
class Partition:
    """What a partition offers."""

    nodes: int
    cores: int
    """Of the smallest of its nodes."""
    hours: float | None
    """Longest time of a job; ``None`` if there is no limit."""
    gres: str

    def has(self, gres: str) -> bool:
        """Return whether its nodes have something of that name."""
        return gres in re.split(r"[:,()]", self.gres)


@dataclass(frozen=True)
class SeenJob:
    """A job as Slurm shows it."""

    state: str
    reason: str = ""
    nodes: str = ""

    @property
    def phase(self) -> Phase:
        """Return how far it is. One that is ending still runs."""
        if self.state in _OVER:
            return "ended"
        return "queued" if self.state in _WAITING else "running"

    @property
    def never_starts(self) -> bool:
        """Return whether it waits for what does not pass."""
        return self.phase == "queued" and self.reason in _NEVER


class Cluster:
    """The Slurm of a login machine."""

    def __init__(self, login: Login) -> None:
        self._login = login

    def partition(self, name: str) -> Partition:
        """Return what the partition ``name`` is. Raises ``EnvironmentUnable``."""
        written = self._ask("sinfo --noheader --format='%R|%a|%l|%D|%c|%G'")
        rows = [line.split("|") for line in written.split("\n") if line.count("|") == 5]
        found = [row for row in rows if row[0].strip() == name]
        if not found:
            known = ", ".join(dict.fromkeys(row[0].strip() for row in rows)) or "none"
            raise EnvironmentUnable(
                f"Slurm of {self._login.name} has no partition {name} (it has: {known})",
                "name one of them as `partition`",
            )
        if all(row[1].strip() != "up" for row in found):
            raise EnvironmentUnable(
                f"the partition {name} of {self._login.name} is {found[0][1].strip()}",
                "choose another one, or ask who runs the cluster",
            )
        return Partition(
            nodes=sum(_number(row[3]) for row in found),
            cores=min(_number(row[4]) for row in found),
            hours=_hours(found[0][2]),
            gres=",".join(row[5].strip() for row in found),
        )

    def settings(self) -> dict[str, str]:
        """Return the settings of Slurm and of its control groups, by name."""
        written = self._ask("scontrol show config")
        pairs = (line.partition("=") for line in written.split("\n") if "=" in line)
        return {name.strip(): value.strip() for name, _, value in pairs}

    def submit(self, folder: str, options: Sequence[str]) -> str:
        """Start ``folder/job.sh``, and note its number in ``folder/slurm``; return it.

        It gets no variable of whoever logs in. (``--export=NONE`` would have the node log in.)
        """
        script = (
            'cd "$1" && shift && number=$(env -i PATH="$PATH" HOME="$HOME" USER="$(id -un)" '
            '${SLURM_CONF:+"SLURM_CONF=$SLURM_CONF"} sbatch --parsable "$@" job.sh) && '
            'printf %s "${number%%;*}" > slurm.partial && mv slurm.partial slurm && cat slurm'
        )
        try:
            return self._login.again(lambda: self._run(script, folder, *options))
        except Refused as refused:
            raise EnvironmentUnable(
                f"Slurm of {self._login.name} refuses the job: {refused}",
                "mend what it names in [systems], or in [resources]; nothing runs there",
            ) from None

    def number_of(self, job_name: str) -> str:
        """Return the number of the job of that name; empty if there is none."""
        script = 'squeue --user="$(id -un)" --states=all --noheader --format=%A --name="$1"'
        return self._ask(script, job_name).strip().rpartition("\n")[2]

    def look(self, number: str) -> SeenJob | None:
        """Return the job, of the queue or of the accounts; ``None`` if neither knows it."""
        queue = "squeue --states=all --noheader --format='%T|%N|%r' --jobs=\"$1\""
        accounts = 'sacct --allocations --noheader --parsable2 --format=State,NodeList --jobs="$1"'
        try:
            found = self._login.again(lambda: self._run(queue, number)).strip()
        except Refused as refused:
            if _UNKNOWN_JOB not in str(refused).lower():
                raise self._unusable(refused) from None
            found = ""
        if not found:
            try:
                found = self._login.again(lambda: self._run(accounts, number)).strip()
            except Refused:  # it keeps no accounts
                return None
        if not found:
            return None
        state, nodes, reason = (found.partition("\n")[0] + "||").split("|")[:3]
        return SeenJob(state.partition(" ")[0], reason.strip("() "), nodes)

    def down(self, nodes: str) -> str:
        """Return those of ``nodes`` that are down, in words; empty if Slurm names none."""
        if not re.fullmatch(r"[\w.,\[\]-]+", nodes):
            return ""
        script = 'sinfo --noheader --nodes="$1" --states=down,fail,no_respond --format=%N'
        return ", ".join(dict.fromkeys(self._ask(script, nodes).split()))

    def begin_cancel(self, number: str) -> None:
        """Have the job end, and do not wait for it. Callable from any thread."""
        try:
            self._login.run_beside('scancel "$1"', number)
        except (Refused, Dropped):
            return

    def cancel(self, number: str) -> None:
        """End the job, and return when that is so. Raises ``EnvironmentUnable``."""
        deadline = time.monotonic() + _END_SECONDS
        asked = False
        while (seen := self.look(number)) is not None and seen.phase != "ended":
            if not asked:
                self._login.again(lambda: self._cancel(number))
                asked = True
            if time.monotonic() > deadline:
                raise EnvironmentUnable(
                    f"Slurm of {self._login.name} has not ended the job {number} within "
                    f"{_END_SECONDS} s ({seen.state})",
                    f"see to it there: `scancel {number}`",
                )
            time.sleep(_LOOK_AGAIN_SECONDS)

    def _cancel(self, number: str) -> None:
        try:
            self._run('scancel "$1"', number)
        except Refused:
            return  # it ended at that very moment

    def _ask(self, script: str, *arguments: str) -> str:
        try:
            return self._login.again(lambda: self._run(script, *arguments))
        except Refused as refused:
            raise self._unusable(refused) from None

    def _run(self, script: str, *arguments: str) -> str:
        """Return what ``script`` writes. Raises ``Dropped`` if Slurm's controller is away."""
        try:
            return self._login.run(script, *arguments)
        except Refused as refused:
            if _AWAY.search(str(refused)):
                raise Dropped(str(refused)) from None
            raise

    def _unusable(self, refused: Refused) -> EnvironmentUnable:
        return EnvironmentUnable(
            f"Slurm cannot be used on {self._login.name}: {refused}",
            "is `login` the machine on which you call sbatch, and are its commands on the path of "
            "a login without a terminal?",
        )


def _number(text: str) -> int:
    digits = re.match(r"\d+", text.strip())
    return int(digits[0]) if digits else 0


def _hours(text: str) -> float | None:
    """Return the hours of a time as Slurm writes it: ``1-02:00:00``, ``30:00``, ``infinite``."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text.strip())
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return days * 24 + hours + minutes / 60 + seconds / 3600
