"""Computes the logits of a checkpoint for a few texts, with which artifacts are compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, JsonValue

from pipeline.contract.kinds import Kind
from pipeline.contract.space import FORMATS, SpaceEstimate
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass
from pipeline.training.loading import ModelLoading


class ReferenceParams(ModelLoading):
    """Which texts, and how many of their positions."""

    samples: int = Field(default=16, ge=1)
    """Number of held-out rows, from the first one on; training rows if nothing is held out. Without
    a data set, a few fixed texts are used."""
    positions: int = Field(default=16, ge=1)
    """Number of logits per row at most: those of the last tokens of prompt and answer."""
    long_tokens: int = Field(default=2112, ge=0)
    """Length of an additional row that is made of the others, to test positions beyond 2,048. There
    is none if this is not more than 2,048, if the context is too short, or if memory has no room
    for the model in fp32."""

    def writes(self, inputs: Mapping[str, SpaceEstimate]) -> SpaceEstimate | None:
        """Return the size of the logits: fp32, one per token of the vocabulary."""
        model = inputs.get("model")
        if model is None or model.weights is None:
            return None
        tokens = max((rows for rows, _ in model.weights.embedding.values()), default=0)
        return SpaceEstimate(FORMATS["fp32"] * (self.samples + 1) * self.positions * tokens)


class Pass(BasePass[ReferenceParams]):
    """Run a checkpoint on a few texts, in fp32."""

    Params = ReferenceParams
    consumes: ClassVar[Mapping[str, Kind]] = {"model": "checkpoint"}
    produces: ClassVar[Kind] = "predictions"
    uses_data: ClassVar[bool] = True

    def run(self, inputs: Inputs, params: ReferenceParams, out_dir: Path) -> dict[str, JsonValue]:
        """Write a :class:`pipeline.onnx.reference.Reference`; return its size."""
        from pipeline.data.tokenizer import load_tokenizer
        from pipeline.onnx.checkpoint import Checkpoint
        from pipeline.onnx.reference import Reference
        from pipeline.training.determinism import prepare
        from pipeline.training.logits import (
            context_length,
            logits_of,
            long_text,
            rotary_tables,
        )
        from pipeline.training.streamed import is_streamed, load_fp32
        from pipeline.weights.mode import ONE_BY_ONE

        prepare(inputs.seed, inputs.threads)
        texts = _texts(inputs, load_tokenizer(inputs["model"], params.trust_remote_code), params)
        model = load_fp32(inputs["model"], params, inputs.report)
        # Past 2,048 tokens, a model that memory has no room for takes many minutes.
        length = 0 if is_streamed(model) else params.long_tokens
        long = long_text(texts, length, context_length(model))
        rows = logits_of(
            model, [*texts, *([long] if long else [])], params.positions, inputs.report
        )
        tables = rotary_tables(model)
        Reference(rows, tables).save(out_dir)
        return {
            "rows": len(rows),
            "positions": sum(len(row.logits) for row in rows),
            "long_rows": sum(row.is_long for row in rows),
            "rotary_positions": sum(len(table.positions) for table in tables),
            "dtype": Checkpoint(inputs["model"]).dtype,
            **({"weights": str(ONE_BY_ONE)} if is_streamed(model) else {}),
        }


def _texts(inputs: Inputs, tokenizer: Any, params: ReferenceParams) -> list[list[int]]:
    """Return the token ids of the texts: prompts with their answers."""
    from pipeline.data.parts import parts_of
    from pipeline.data.tokenize import Codec
    from pipeline.onnx.samples import SAMPLES

    if inputs.data is None:
        encoded = [[int(token) for token in tokenizer.encode(text)] for text in SAMPLES]
        return [ids for ids in encoded if ids][: params.samples]
    codec = Codec(tokenizer)
    return [
        [*codec.prompt_ids(example), *codec.completion_ids(example.completion, example)]
        for example in parts_of(inputs).held_out_or_train[: params.samples]
    ]
