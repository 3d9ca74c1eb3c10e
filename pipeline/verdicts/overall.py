"""Combines several statuses into one."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.contract.result import Status, StepResult


def overall(statuses: Iterable[Status]) -> Status:
    """Return the worst of ``statuses``: failed before unverified before passed.

    Without any status, the result is unverified.
    """
    distinct = set(statuses) or {"unverified"}
    if "failed" in distinct:
        return "failed"
    return "unverified" if "unverified" in distinct else "passed"


def status_of(result: StepResult) -> Status | None:
    """Return what the verdicts of a step come to; ``None`` if it gave none."""
    return overall(verdict.status for verdict in result.verdicts) if result.verdicts else None
