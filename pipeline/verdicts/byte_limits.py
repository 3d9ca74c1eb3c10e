"""Limits of a number of bytes, shared by the ``size`` and ``memory`` checks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from pipeline.contract.frozen import Frozen
from pipeline.contract.result import Verdict
from pipeline.contract.schema import Size, parse_bytes
from pipeline.verdicts.goals import Goal, goal_verdict, require_baseline, validated_goals

METRIC = "bytes"
_REGRESSION_PERCENT = 5.0


class ByteLimitParams(Frozen):
    """The limits. Without any, the figure is only reported."""

    max_bytes: Annotated[int, Field(gt=0)] | Size | None = None
    """Largest size allowed: bytes, or text such as ``"3g"``."""
    baseline: str | None = None
    """Another artifact to compare with, relative to the config file: the output of a build, such as
    ``dist/tone/cpu``, or an ONNX Runtime GenAI model folder."""
    max_regression_percent: float | None = Field(default=None, ge=0)
    """By how many percent it may exceed the baseline's. Default: 5 if there is a baseline and no
    goal compares with it."""
    goals: tuple[Goal, ...] = ()
    """Goals of ``bytes``, absolute or relative."""

    @field_validator("goals")
    @classmethod
    def _known(cls, goals: tuple[Goal, ...]) -> tuple[Goal, ...]:
        return validated_goals(goals, (METRIC,), baseline=True)

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        if self.max_bytes is not None and any(not goal.is_relative for goal in self.goals):
            raise ValueError("max_bytes and a goal limit the same figure; give one")
        require_baseline(self.goals, self.baseline)
        if self.max_regression_percent is not None and self.baseline is None:
            raise ValueError("max_regression_percent needs a baseline")
        return self

    def limits(self) -> tuple[Goal, ...]:
        """Return every limit as a goal."""
        return tuple(self._limits())

    def _limits(self) -> Iterator[Goal]:
        if self.max_bytes is not None:
            most = (
                self.max_bytes if isinstance(self.max_bytes, int) else parse_bytes(self.max_bytes)
            )
            yield Goal(metric=METRIC, at_most=most)
        yield from self.goals
        compared = any(goal.of_baseline for goal in self.goals)
        regression = self.max_regression_percent
        if regression is None and self.baseline is not None and not compared:
            regression = _REGRESSION_PERCENT
        if regression is not None:
            yield Goal(metric=METRIC, against="baseline", max_degradation_percent=regression)

    def verdicts(
        self, ours: float, base: float | None, baseline: float | None, detail: str
    ) -> tuple[Verdict, ...]:
        """Return the verdicts on ``ours``, given the sizes of base model and baseline in bytes."""
        return tuple(
            goal_verdict(goal, ours, False, baseline if goal.of_baseline else base, "bytes", detail)
            for goal in self.limits()
        )
