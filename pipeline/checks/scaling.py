"""Checks that scaling the weights of a model left what it computes as it was."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from pipeline.checks.base import BaseCheck, Outcome
from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind
from pipeline.contract.roles import Role
from pipeline.contract.step import Inputs


class ScalingParams(Frozen):
    """Limit of the ``scaling`` check."""

    max_scaling_error: float = Field(default=1e-4, gt=0)
    """Largest relative error of the scaled model's logits against those of the model before, in the
    L2 norm. What fp32 rounds is a hundredth of it."""


class Check(BaseCheck[ScalingParams]):
    """Compare the logits of the checkpoint that the artifact was made from with those of the
    checkpoint before its weights were scaled, as ``awq`` does."""

    Params = ScalingParams
    optional_needs: ClassVar[tuple[Role, ...]] = ()
    needs: ClassVar[tuple[Role, ...]] = ("reference", "unscaled_reference")
    accepts: ClassVar[tuple[Kind, ...]] = ("onnx", "checkpoint")

    def run(self, inputs: Inputs, params: ScalingParams) -> Outcome:
        """Compare the rows that both were asked."""
        import numpy as np

        from pipeline.onnx.reference import Reference
        from pipeline.verdicts.verdicts import limit_verdict

        before = {row.ids: row.logits for row in Reference.load(inputs["unscaled_reference"]).rows}
        rows = Reference.load(inputs["reference"]).rows
        ours, theirs = (
            np.concatenate([np.asarray(logits, np.float64).ravel() for logits in every])
            for every in ([row.logits for row in rows], [before[row.ids] for row in rows])
        )
        largest = float(np.abs(ours - theirs).max())
        error = float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
        detail = f"logits differ by {largest:.1e} at most, in {len(rows)} texts"
        verdict = limit_verdict(
            "same_function", error, "<=", params.max_scaling_error, detail=detail
        )
        return Outcome((verdict,), {"figures": {"scaling_error": error, "largest": largest}})
