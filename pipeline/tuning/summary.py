"""The record of a search in the report, and choices in words. Free of any ML library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

from pydantic import JsonValue

from pipeline.contract.frozen import Frozen
from pipeline.tuning.trials import Trial

METRIC = "tuning"
"""Name of the metric of a ``tune`` pass that holds a :class:`TuningSummary`."""


class Margin(Frozen):
    """How much slower the next best choice is, measured in turns."""

    other: dict[str, JsonValue]
    """Its values, where they differ from those of the choice."""
    ratio: float
    """Its time divided by that of the choice: the geometric mean over the turns."""
    low: float | None
    """Lower end of the 95 % interval of :attr:`ratio`; ``None`` after a single turn."""
    high: float | None

    def __str__(self) -> str:
        other = describe_choice(self.other) or "the next"
        if self.low is None or self.high is None:
            return f"{_percent(self.ratio)} against {other}; a single turn says not how sure"
        if self.low > 1:
            sure = ""
        elif self.high < 1:
            sure = ": as good as equally fast, and no closer to the float model"
        else:
            sure = ", so that neither is surely faster"
        return (
            f"{other} takes {_percent(self.ratio)} ({_percent(self.low)} to "
            f"{_percent(self.high)}){sure}"
        )


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f} %"


class TuningSummary(Frozen):
    """All trials of a search, and the choice."""

    goal: Literal["answer", "decode", "prompt", "size"]
    prompt_tokens: int
    new_tokens: int
    layers: int
    """Number of layers of the whole model."""
    trials: tuple[Trial, ...]
    chosen: int | None
    """Index of the choice in :attr:`trials`; ``None`` if nothing was measured."""
    front: tuple[int, ...] = ()
    """Indices of the trials that no other beats in size, time per token and closeness at once
    (:mod:`pipeline.tuning.front`)."""
    pinned: dict[str, JsonValue]
    """Parameters with which ``model_builder`` makes the same bytes."""
    left_out: tuple[str, ...] = ()
    """The passes before it that the choice does not use."""
    seconds: float = 0
    out_of_time: bool = False
    """Whether ``max_seconds`` ended the search early."""
    resumed: int = 0
    """Number of trials from an earlier, interrupted run."""
    margin: Margin | None = None
    """How sure the choice is; ``None`` if there was only one."""
    busy: str = ""
    """Why another run may choose otherwise: other work took much of the CPUs; empty if it did not.
    """
    not_tuned: str = ""
    """Why nothing was measured; empty if something was."""


def describe_choice(point: Mapping[str, JsonValue]) -> str:
    """Return ``block_size 128, symmetric false`` for a choice."""
    return ", ".join(f"{name} {describe_value(value)}" for name, value in point.items())


def describe_value(value: JsonValue) -> str:
    """Return a value of a choice in words."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "+".join(f"{name}:{width}" for name, width in value.items()) or "none"
    if isinstance(value, list):
        return " + ".join(map(describe_value, value)) or "none"
    return json.dumps(value)


def rejection_reason(trial: Trial) -> str:
    """Return why a choice was excluded: its failed verdicts or its error."""
    if trial.status == "failed":
        return f"failed: {trial.note}"
    if trial.status == "measured":
        return ""
    return "; ".join(
        f"{verdict.name} {verdict.value:.4g} is not {verdict.relation} {verdict.limit:g}"
        if verdict.value is not None and verdict.limit is not None and verdict.unit != "problems"
        else f"{verdict.name}: {verdict.detail}"
        for verdict in trial.verdicts
    )
