"""Checks the size of the artifact's files."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from pipeline.checks.base import BaseCheck, Outcome
from pipeline.contract.kinds import Kind
from pipeline.contract.roles import Role
from pipeline.contract.step import Inputs
from pipeline.verdicts.byte_limits import METRIC, ByteLimitParams


class SizeParams(ByteLimitParams):
    """Limits of the total size of the artifact's files. Relative goals compare with the base
    model's weights, or with the baseline. Without any limit the size is only reported."""


class Check(BaseCheck[SizeParams]):
    """Add up the sizes of all files of the artifact."""

    Params = SizeParams
    accepts: ClassVar[tuple[Kind, ...]] = ("onnx", "checkpoint", "adapter")
    sources: ClassVar[tuple[str, ...]] = ("baseline",)

    @classmethod
    def needs_of(
        cls,
        params: SizeParams,
        artifact: Kind = "onnx",  # noqa: ARG003
    ) -> tuple[Role, ...]:
        """Return the roles; with a goal relative to the base model, ``base_timing`` among them."""
        relative = any(goal.of_base for goal in params.goals)
        return ("artifact", "base_timing") if relative else ("artifact",)

    @classmethod
    def own_pass_of(cls, params: SizeParams, role: Role) -> dict[str, JsonValue]:  # noqa: ARG003
        """Return parameters with which the base model's size is measured, but not its speed."""
        return {"samples": 0}

    def run(self, inputs: Inputs, params: SizeParams) -> Outcome:
        """Add up the sizes and compare with the limits.

        Raises :class:`~pipeline.contract.errors.StepError` if the baseline is no artifact.
        """
        from pipeline.onnx.baseline import baseline_folder

        files = _files(inputs["artifact"])
        figures: dict[str, JsonValue] = {METRIC: sum(files)}
        weighed = inputs.metrics.get("base_timing", {}).get("weights_bytes")
        base = float(weighed) if isinstance(weighed, (int, float)) and weighed else None
        if base is not None:
            figures["base_bytes"] = base
        baseline = None
        if "baseline" in inputs.paths:
            baseline = sum(_files(baseline_folder(inputs["baseline"])))
            figures["baseline_bytes"] = baseline
        verdicts = params.verdicts(sum(files), base, baseline, f"{len(files)} files")
        return Outcome(verdicts, {"figures": figures})


def _files(folder: Path) -> list[int]:
    return [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
