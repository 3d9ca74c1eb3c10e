"""Errors that end a step or a check."""

from __future__ import annotations

from typing import Literal

Cause = Literal["error", "disk_full", "out_of_memory", "network", "bad_input", "peer"]
"""Why a step failed, which decides the exit code of the command. ``peer``: because another machine
that it ran on did."""


class StepError(Exception):
    """A step cannot continue, for a reason that the user can act on."""

    def __init__(self, message: str, hint: str = "", cause: Cause = "error") -> None:
        super().__init__(message)
        self.hint = hint
        self.cause = cause


class ArtifactError(StepError):
    """The artifact cannot be used: the runtime refuses to load or to run it."""


class BeyondCpuError(Exception):
    """The CPU provider has no kernel for the graph, so that only the target's device can run it."""
