"""What builds live through, how often each is tried, and what holds: for the tests and the page."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from tests.attack.cache_damages import DAMAGES
from tests.support.gated_builds import Sent

ENDS: Mapping[str, tuple[Sent, ...]] = {
    "Ctrl-C": (Sent(0, signal.SIGINT),),
    "SIGTERM": (Sent(0, signal.SIGTERM),),
    "SIGHUP": (Sent(0, signal.SIGHUP),),
    "Ctrl-C again and again": tuple(Sent(number / 5, signal.SIGINT) for number in range(8)),
    "cancel of a CI service": (
        *(Sent(0, signal.SIGINT), Sent(7.5, signal.SIGTERM), Sent(10, signal.SIGKILL)),
    ),
    "killed outright": (Sent(0, signal.SIGKILL),),
}
OUTRIGHT = frozenset({"killed outright"})
MOMENTS = ("starting", "planned", "first ...", "✓ first", "second ...", "third ...")
PLANNED_MOMENTS = MOMENTS[1:]
ACTIVE_MOMENTS = MOMENTS[2:]
STEP_MOMENTS = tuple(moment for moment in MOMENTS if moment.endswith("..."))
DOORS = ("nox", "python")
DOCKER = pytest.param("docker", marks=pytest.mark.engine)
RUNTIMES = (DOCKER, "venv")
QUICK_ENDS = (
    ("cancel of a CI service", "nox", "venv", "first ..."),
    ("cancel of a CI service", "nox", "docker", "first ..."),
    ("killed outright", "nox", "venv", "second ..."),
    ("killed outright", "python", "docker", "second ..."),
)
"""End, door, runtime and moment of those that every test run tries."""
CLOCK_STEPS = (5, -5, 3600, -86_400, 400 * 86_400)
"""Seconds by which the wall clock steps."""
MEETINGS: Mapping[str, signal.Signals | None] = {
    "both go on": None,
    "the first is stopped": signal.SIGINT,
    "the first is killed": signal.SIGKILL,
}
FATES = ("goes away", "stands still", "stands still, and Ctrl-C", "stops for a while")
"""What becomes of an engine."""
QUICK_FATES = ("goes away", "stands still, and Ctrl-C")
"""Those of whole builds that every test run tries."""


@dataclass(frozen=True)
class Tried:
    """One row of the page: what was tried, how often in each run of which tests, what holds."""

    what: str
    always: int
    slow: int
    holds: str
    by: str

    def row(self) -> str:
        """Return it as a row in Markdown."""
        return f"| {self.what} | {self.always} | {self.slow} | {self.holds} | `{self.by}` |"


_ENDS, _ENGINE, _MACHINE, _CACHE = (
    f"tests/attack/test_life_cycle{name}.py" for name in ("", "_engine", "_machine", "_cache")
)
_STOPPED = "everything is stopped within five seconds, nothing is left, finished steps are kept"
_HOLDS = {
    "killed outright": "steps end with it, and the next build removes what it left",
    "goes away": "exit code 4; the container ends by itself",
    "stands still": "after a minute, exit code 4; the container ends by itself, and is named as "
    "perhaps still there",
    "stands still, and Ctrl-C": "the container ends by itself, and is named as perhaps still there",
    "stops for a while": "the build goes on",
    "both go on": "the second waits, and runs nothing twice",
    "the first is stopped": "the second goes on from its last finished step",
    "the first is killed": "the second goes on from its last finished step",
}
_EACH_END = len(DOORS) * len(RUNTIMES) * len(MOMENTS)
LIFE_CYCLE: tuple[Tried, ...] = (
    *(
        Tried(
            f"{end}, through nox or Python, in either runtime",
            len([quick for quick in QUICK_ENDS if quick[0] == end]),
            _EACH_END,
            _HOLDS.get(end, _STOPPED),
            _ENDS,
        )
        for end in ENDS
    ),
    *(
        Tried(
            f"an engine that {fate}: behind a socket, and a real one",
            int(fate in QUICK_FATES),
            len(PLANNED_MOMENTS) + len(STEP_MOMENTS),
            _HOLDS[fate],
            _ENGINE,
        )
        for fate in FATES
    ),
    Tried(
        "Ctrl-C while an image is made, in an engine that answers or stands still",
        0,
        2,
        "nothing is left, or it is said what may be",
        _ENGINE,
    ),
    Tried(
        "an engine that stands still while an image is made",
        0,
        1,
        "after a minute, exit code 4, and it is said what may be left",
        _ENGINE,
    ),
    Tried(
        "a step that takes more memory than its limit, or than there is",
        1,
        len(RUNTIMES) * len(STEP_MOMENTS),
        "exit code 5, which names the step and memory",
        _MACHINE,
    ),
    Tried(
        "a step that fills the disk",
        1,
        len(RUNTIMES) * len(STEP_MOMENTS),
        "exit code 4, which names the disk",
        _MACHINE,
    ),
    Tried(
        "a disk that others fill",
        0,
        len(RUNTIMES) * len(ACTIVE_MOMENTS),
        "the build ends well, or with exit code 4",
        _MACHINE,
    ),
    Tried(
        "a wall clock that steps, by up to 400 days, while another build begins and `clean` runs",
        0,
        len(RUNTIMES) * len(CLOCK_STEPS),
        "both builds end well",
        _MACHINE,
    ),
    *(
        Tried(
            f"two builds of the same and `clean`: {meeting}",
            int(meeting == "the first is killed"),
            len(RUNTIMES) * len(PLANNED_MOMENTS),
            _HOLDS[meeting],
            _MACHINE,
        )
        for meeting in MEETINGS
    ),
    Tried(
        "a cache with a file or folder that is missing, cut, garbage, a link, a pipe or the other",
        len(DAMAGES),
        0,
        "it mends itself; nothing damaged is used",
        _CACHE,
    ),
)
"""At which moments: :data:`MOMENTS`."""
