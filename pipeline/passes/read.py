"""Sees how well a checkpoint reads plain English, where no row is held out to ask it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass
from pipeline.training.loading import ModelLoading


class Pass(BasePass[ModelLoading]):
    """See how well a checkpoint reads plain English."""

    Params = ModelLoading
    consumes: ClassVar[Mapping[str, Kind]] = {"model": "checkpoint"}
    produces: ClassVar[Kind] = "predictions"

    def run(self, inputs: Inputs, params: ModelLoading, out_dir: Path) -> dict[str, JsonValue]:
        """Write the reading (:mod:`pipeline.evaluation.general`); return its perplexity."""
        from pipeline.data.tokenize import Codec
        from pipeline.data.tokenizer import load_tokenizer
        from pipeline.evaluation.general import read
        from pipeline.onnx.checkpoint import Checkpoint
        from pipeline.training.answerer import answerer_of
        from pipeline.training.determinism import prepare

        prepare(inputs.seed, inputs.threads)
        tokenizer = load_tokenizer(inputs["model"], params.trust_remote_code)
        checkpoint = Checkpoint(inputs["model"])
        answerer = answerer_of(checkpoint, tokenizer, params, inputs.report)
        reading = read(
            answerer, Codec(tokenizer).whole_text_ids, checkpoint.context, answerer.vocabulary
        )
        reading.save(out_dir)
        return {"general_perplexity": reading.perplexity, "computed_in": answerer.dtype}
