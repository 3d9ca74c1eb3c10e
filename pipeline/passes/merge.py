"""Folds an adapter into its base."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import JsonValue

from pipeline.passes.base import BasePass, Inputs
from pipeline.plan import Kind
from pipeline.training.params import ModelLoading


class MergeParams(ModelLoading):
    """Into what, and in which number format."""

    into: Literal["auto", "original", "dequantized"] = "auto"
    """Base of a QLoRA adapter: ``dequantized`` are the weights it was trained over (the loss stays
    as measured), ``original`` those before quantization. ``auto`` is ``dequantized`` for QLoRA,
    ``original`` for LoRA."""
    dtype: Literal["base", "fp32", "bf16", "fp16"] = "base"
    """Number format of the merged weights; the merge itself is in fp32."""


class Pass(BasePass[MergeParams]):
    """Merge an adapter into its base in fp32."""

    Params = MergeParams
    consumes: ClassVar[Mapping[str, Kind]] = {"model": "checkpoint", "adapter": "adapter"}
    produces: ClassVar[Kind] = "checkpoint"

    def run(self, inputs: Inputs, params: MergeParams, out_dir: Path) -> dict[str, JsonValue]:
        """Write a checkpoint folder with the base's tokenizer and generation config."""
        from pipeline.training.merging import merge

        return merge(inputs, params, out_dir)
