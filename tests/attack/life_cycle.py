"""What builds live through: every way to end one, at every step, and how often each is tried."""

from __future__ import annotations

import signal
from collections.abc import Mapping

import pytest

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
DOORS = ("nox", "python")
RUNTIMES = (pytest.param("docker", marks=pytest.mark.engine), "venv")
ENGINE_MOMENTS = MOMENTS[1:]
ACTIVE_MOMENTS = MOMENTS[2:]
STEP_MOMENTS = tuple(moment for moment in MOMENTS if moment.endswith("..."))
CLOCK_STEPS = (5, -5, 3600, -86_400, 400 * 86_400)
"""Seconds by which the wall clock steps."""
MEETINGS: Mapping[str, signal.Signals | None] = {
    "both go on": None,
    "the first is stopped": signal.SIGINT,
    "the first is killed": signal.SIGKILL,
}
