"""How large is the artifact?"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, JsonValue, field_validator, model_validator
from typing_extensions import Self

from pipeline.checks.base import BaseCheck, Outcome, Role
from pipeline.checks.goals import Goal, judged, known_goals
from pipeline.config.schema import Size, parse_bytes
from pipeline.model import Frozen
from pipeline.passes.base import Inputs
from pipeline.plan import Kind

_METRIC = "bytes"


class SizeParams(Frozen):
    """The limits. Without any the size is reported and nothing judged."""

    max_bytes: Annotated[int, Field(gt=0)] | Size | None = None
    """Most that all files of the artifact have together: bytes, or text such as ``"3g"``."""
    goals: tuple[Goal, ...] = ()
    """Goals of ``bytes``, absolute or relative to the base model's weights."""

    @field_validator("goals")
    @classmethod
    def _known(cls, goals: tuple[Goal, ...]) -> tuple[Goal, ...]:
        return known_goals(goals, (_METRIC,))

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        if self.max_bytes is not None and any(not goal.is_relative for goal in self.goals):
            raise ValueError("max_bytes and a goal limit the same figure; give one")
        return self

    def limits(self) -> tuple[Goal, ...]:
        """Return every limit as a goal."""
        if self.max_bytes is None:
            return self.goals
        most = self.max_bytes if isinstance(self.max_bytes, int) else parse_bytes(self.max_bytes)
        return (Goal(metric=_METRIC, at_most=most), *self.goals)


class Check(BaseCheck[SizeParams]):
    """Weigh all files of the artifact."""

    Params = SizeParams
    accepts: ClassVar[tuple[Kind, ...]] = ("onnx", "checkpoint", "adapter")

    @classmethod
    def needs_of(
        cls,
        params: SizeParams,
        artifact: Kind = "onnx",  # noqa: ARG003
    ) -> tuple[Role, ...]:
        """Return ``base_timing`` too where a goal is relative."""
        relative = any(goal.is_relative for goal in params.goals)
        return ("artifact", "base_timing") if relative else ("artifact",)

    @classmethod
    def timing_of(cls, params: SizeParams) -> dict[str, JsonValue]:  # noqa: ARG003
        """Weigh the base model; do not time it."""
        return {"samples": 0}

    def run(self, inputs: Inputs, params: SizeParams) -> Outcome:
        """Sum up and judge."""
        files = [file for file in inputs["artifact"].rglob("*") if file.is_file()]
        size = sum(file.stat().st_size for file in files)
        weighed = inputs.metrics.get("base_timing", {}).get("weights_bytes")
        base = float(weighed) if isinstance(weighed, (int, float)) and weighed else None
        verdicts = tuple(
            judged(goal, size, False, base, "bytes", f"{len(files)} files")
            for goal in params.limits()
        )
        figures: dict[str, JsonValue] = {_METRIC: size}
        if base is not None:
            figures["base_bytes"] = base
        return Outcome(verdicts, {"figures": figures})
