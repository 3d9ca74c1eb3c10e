"""Keeps the logits of a checkpoint, so that an artifact can be held against them anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, JsonValue

from pipeline.passes.base import BasePass, Inputs
from pipeline.plan import Kind
from pipeline.training.params import ModelLoading


class ReferenceParams(ModelLoading):
    """How much is kept."""

    samples: int = Field(default=16, ge=1)
    """Held-out rows, the first ones, or training rows where nothing is held out. Without a data set
    a few fixed texts take their place."""
    positions: int = Field(default=16, ge=1)
    """Most tokens per row, the last ones of prompt and answer."""


class Pass(BasePass[ReferenceParams]):
    """Run the merged model over a few texts."""

    Params = ReferenceParams
    consumes: ClassVar[Mapping[str, Kind]] = {"model": "checkpoint"}
    produces: ClassVar[Kind] = "predictions"
    uses_data: ClassVar[bool] = True

    def run(self, inputs: Inputs, params: ReferenceParams, out_dir: Path) -> dict[str, JsonValue]:
        """Write :class:`pipeline.onnx.reference.Reference`; return how much it holds."""
        import torch

        from pipeline.onnx.reference import Reference, Row
        from pipeline.training.determinism import prepare
        from pipeline.training.loading import load_model, load_tokenizer

        prepare(inputs.seed, inputs.threads)
        texts = _texts(inputs, load_tokenizer(inputs["model"], params.trust_remote_code), params)
        model = load_model(inputs["model"], params).eval()
        rows = []
        for done, ids in enumerate(texts, start=1):
            with torch.inference_mode():
                given = torch.tensor([ids], device=model.device)
                logits = model(input_ids=given, use_cache=False).logits[0]
            kept = min(params.positions, len(ids))
            rows.append(Row(tuple(ids), logits[-kept:].float().cpu().numpy()))
            inputs.report.progress(done, len(texts), "rows")
        Reference(tuple(rows)).save(out_dir)
        return {"rows": len(rows), "positions": sum(len(row.logits) for row in rows)}


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
        for example in parts_of(inputs).unseen_first[: params.samples]
    ]
