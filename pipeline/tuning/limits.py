"""Checks whether an artifact is within the limits of the config, before it can be chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from pipeline.checks import quality, quantization
from pipeline.checks.base import BaseCheck
from pipeline.contract.result import Verdict
from pipeline.contract.step import Inputs
from pipeline.tuning.params import LimitCheck

_CHECKS: Mapping[str, type[BaseCheck[Any]]] = {
    "quantization": quantization.Check,
    "quality": quality.Check,
}
_COST = "mean_kl"


@dataclass(frozen=True)
class LimitsJudgement:
    """The result of the checks for an artifact."""

    missed: tuple[Verdict, ...]
    """Failed verdicts of the first check that it fails; empty if it fails none."""
    cost: float | None
    """Mean KL divergence from the float model in nats; ``None`` if it was not measured."""


def judge(
    inputs: Inputs,
    held_to: Mapping[str, LimitCheck],
    folder: Path,
    metrics: Mapping[str, JsonValue],
) -> LimitsJudgement:
    """Return the result of the checks in ``held_to`` for the artifact in ``folder``.

    ``metrics`` are those of its build. Unverified limits do not exclude it; the check of the final
    artifact reports them.
    """
    artifact_inputs = replace(
        inputs,
        paths={**inputs.paths, "artifact": folder},
        metrics={**inputs.metrics, "artifact": metrics},
    )
    cost: float | None = None
    for limit_check in held_to.values():
        check = _CHECKS[limit_check.type]()
        outcome = check.judge(artifact_inputs, check.Params.model_validate(limit_check.params))
        costs = [verdict.value for verdict in outcome.verdicts if verdict.name == _COST]
        cost = costs[0] if costs else cost
        missed = tuple(verdict for verdict in outcome.verdicts if verdict.status == "failed")
        if missed:
            return LimitsJudgement(missed, cost)
    return LimitsJudgement((), cost)
