"""Makes verdicts from lists of problems, and from figures and their limits."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, overload

from pipeline.contract.errors import ArtifactError, BeyondCpuError
from pipeline.contract.result import Verdict

_SAMPLE = 5


def problem_verdict(name: str, problems: list[str], fine: str) -> Verdict:
    """Return a verdict that passes if there are no problems, with ``fine`` as its detail."""
    return Verdict(
        name=name,
        status="failed" if problems else "passed",
        value=len(problems),
        limit=0,
        relation="==",
        unit="problems",
        detail=summarize_problems(problems) or fine,
    )


def unverified(name: str, why: str) -> Verdict:
    """Return a verdict that is neither passed nor failed; ``why`` says why not."""
    return Verdict(name=name, status="unverified", detail=why)


def unusable(name: str, error: ArtifactError | BeyondCpuError) -> Verdict:
    """Return the verdict on an artifact that cannot be run: failed, or unverified if only its
    device can run it."""
    if isinstance(error, BeyondCpuError):
        return unverified(name, str(error))
    return problem_verdict(name, [str(error)], "")


def marked_as_on_cpu(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """Return ``verdicts`` with the note that the CPU provider ran the artifact."""
    note = "through the CPU provider"
    return tuple(
        verdict.model_copy(
            update={"detail": f"{verdict.detail}; {note}" if verdict.detail else note}
        )
        for verdict in verdicts
    )


@overload
def limit_verdict(
    name: str,
    value: float,
    relation: Literal["<=", ">="],
    limit: float,
    unit: str = ...,
    detail: str = ...,
) -> Verdict: ...


@overload
def limit_verdict(
    name: str,
    value: float,
    relation: Literal["<=", ">="],
    limit: float | None,
    unit: str = ...,
    detail: str = ...,
) -> Verdict | None: ...


def limit_verdict(
    name: str,
    value: float,
    relation: Literal["<=", ">="],
    limit: float | None,
    unit: str = "share",
    detail: str = "",
) -> Verdict | None:
    """Return the verdict on a figure; ``None`` if there is no limit. NaN never passes."""
    if limit is None:
        return None
    good = value <= limit if relation == "<=" else value >= limit
    return Verdict(
        name=name,
        status="passed" if good and not math.isnan(value) else "failed",
        value=value,
        limit=limit,
        relation=relation,
        unit=unit,
        detail=detail,
    )


def summarize_problems(problems: list[str]) -> str:
    """Return the first few problems as one text."""
    more = len(problems) - _SAMPLE
    return "; ".join(problems[:_SAMPLE]) + (f"; and {more} more" if more > 0 else "")
