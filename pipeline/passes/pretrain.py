"""Trains a small Phi-3 base model and its tokenizer on text, from random weights."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass
from pipeline.training.base_params import PretrainParams


class Pass(BasePass[PretrainParams]):
    """Train a tokenizer and a small Phi-3 model on text."""

    Params = PretrainParams
    produces: ClassVar[Kind] = "checkpoint"
    sources: ClassVar[tuple[str, ...]] = ("text",)
    trains: ClassVar[bool] = True
    resumes: ClassVar[bool] = True
    without_effect: ClassVar[tuple[str, ...]] = ("save_steps",)

    def run(self, inputs: Inputs, params: PretrainParams, out_dir: Path) -> dict[str, JsonValue]:
        """Write a checkpoint folder: safetensors, config, tokenizer, chat template."""
        from pipeline.training.pretraining import pretrain

        return pretrain(inputs, params, out_dir)
