"""Computes the logits of base and adapter, not merged, and of the base alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field, JsonValue

from pipeline.contract.kinds import Kind
from pipeline.contract.space import SpaceEstimate
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass
from pipeline.training.merge_params import MergeParams


class AdaptedReferenceParams(MergeParams):
    """The base that the adapter was merged into, and the number of rows."""

    samples: int = Field(default=16, ge=1)
    """Number of rows of the reference, from the first one on, without its long row."""

    def writes(self, inputs: Mapping[str, SpaceEstimate]) -> SpaceEstimate | None:
        """Return the size of the logits of both together, and of the base alone."""
        reference = inputs.get("reference")
        return None if reference is None else SpaceEstimate(2 * reference.kept)


class Pass(BasePass[AdaptedReferenceParams]):
    """Run base and adapter with PEFT on the texts of the reference, in fp32."""

    Params = AdaptedReferenceParams
    consumes: ClassVar[Mapping[str, Kind]] = {
        "model": "checkpoint",
        "adapter": "adapter",
        "reference": "predictions",
    }
    produces: ClassVar[Kind] = "predictions"

    def run(
        self, inputs: Inputs, params: AdaptedReferenceParams, out_dir: Path
    ) -> dict[str, JsonValue]:
        """Write a :class:`pipeline.onnx.reference.Reference` of both together and, in a subfolder,
        one of the base alone; return their sizes."""
        from pipeline.onnx.reference import BASE_DIR, Reference
        from pipeline.training.determinism import prepare
        from pipeline.training.logits import logits_of
        from pipeline.training.merging import load_adapted

        prepare(inputs.seed, inputs.threads)
        rows = [row for row in Reference.load(inputs["reference"]).rows if not row.is_long]
        rows = rows[: params.samples]
        texts = [row.ids for row in rows]
        positions = max((len(row.logits) for row in rows), default=1)
        model = load_adapted(inputs, params)
        Reference(logits_of(model, texts, positions, inputs.report)).save(out_dir)
        (out_dir / BASE_DIR).mkdir()
        with model.disable_adapter():
            alone = logits_of(model, texts, positions, inputs.report)
        Reference(alone).save(out_dir / BASE_DIR)
        return {"rows": len(texts)}
