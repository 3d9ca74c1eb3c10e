"""Does the graph compute what the merged model computes? Logits against logits, on the CPU."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, JsonValue

from pipeline.checks.base import BaseCheck, Outcome, Role
from pipeline.model import Frozen
from pipeline.passes.base import Inputs

_LIMITS = {"fp32": 0.02, "fp16": 0.02, "bf16": 0.1, "int8": 0.1, "int4": 0.5}
"""Relative error by precision of the weights: several times what was measured for healthy graphs.
Rounding errors of the conversion are 0.006, int4 in blocks of 32 costs 0.05 to 0.37."""


class NumericsParams(Frozen):
    """The limit."""

    max_logits_error: float | None = Field(default=None, gt=0)
    """Most relative error of the logits, in the L2 norm. Default: by the artifact's precision."""


class Check(BaseCheck[NumericsParams]):
    """Compare logits with the merged model's through ONNX Runtime's CPU provider.

    The very graph is run, whatever it was built for: its provider is only left out. A graph that
    the CPU cannot run (bf16) is compared on its device.
    """

    Params = NumericsParams
    needs: ClassVar[tuple[Role, ...]] = ("artifact", "reference")
    uses_device: ClassVar[bool] = True

    def run(self, inputs: Inputs, params: NumericsParams) -> Outcome:
        """Measure ``|artifact - merged| / |merged|`` over logits centred at every position.

        Centred, because a softmax does not see what is added to all logits.
        """
        import numpy as np

        from pipeline.onnx.errors import BeyondCpuError
        from pipeline.onnx.reference import Reference
        from pipeline.onnx.session import Session
        from pipeline.onnx.verdicts import held

        reference = Reference.load(inputs["reference"])
        try:
            session = Session(inputs["artifact"], inputs.threads, cpu=True)
        except BeyondCpuError:
            if inputs.absent_device:
                raise
            session = Session(inputs["artifact"], inputs.threads)
        difference = norm = 0.0
        same = positions = 0
        for done, row in enumerate(reference.rows, start=1):
            found = session.logits(row.ids, len(row.logits))
            wanted = row.logits.astype(np.float64)
            # The builder may leave out rows of the embedding that no token uses.
            width = min(found.shape[1], wanted.shape[1])
            found, wanted = found[:, :width], wanted[:, :width]
            same += int((found.argmax(-1) == wanted.argmax(-1)).sum())
            positions += len(wanted)
            found = found - found.mean(-1, keepdims=True)
            wanted = wanted - wanted.mean(-1, keepdims=True)
            difference += float(((found - wanted) ** 2).sum())
            norm += float((wanted**2).sum())
            inputs.report.progress(done, len(reference.rows), "rows")
        precision = str(inputs.metrics.get("artifact", {}).get("precision", "int4"))
        error = float((difference / norm) ** 0.5) if norm else float("nan")
        agreement = same / positions
        detail = f"same first choice at {agreement:.1%} of {positions} positions"
        limit = params.max_logits_error or _LIMITS[precision]
        verdict = held("logits_error", error, "<=", limit, detail=detail)
        figures: dict[str, JsonValue] = {
            "logits_error": error,
            "same_first_choice": agreement,
            "positions": positions,
        }
        return Outcome((verdict,), {"numerics": figures})
