"""Makes a checkpoint from a GGUF file, llama.cpp's format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind
from pipeline.contract.space import FORMATS, SpaceEstimate
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass

FOLDER = "folder"
"""Role of the folder that holds a fetched file, and no other GGUF file."""


class ImportGgufParams(Frozen):
    """The file."""

    file: str | None = None
    """GGUF file, relative to the config file. Without it, the file is one that was fetched."""

    def writes(self, inputs: Mapping[str, SpaceEstimate]) -> SpaceEstimate | None:
        """Return the size of the checkpoint, which is in fp32; ``None`` if the file is not here."""
        file = inputs.get("file")
        if file is None or file.weights is None:
            return None
        weights = replace(file.weights, bytes=FORMATS["fp32"] * file.weights.count)
        return SpaceEstimate(weights.bytes, weights=weights)


class Pass(BasePass[ImportGgufParams]):
    """Turn a GGUF file's weights back into plain numbers, and make its tokenizer."""

    Params = ImportGgufParams
    produces: ClassVar[Kind] = "checkpoint"
    sources: ClassVar[tuple[str, ...]] = ("file",)

    def run(self, inputs: Inputs, params: ImportGgufParams, out_dir: Path) -> dict[str, JsonValue]:
        """Write a checkpoint folder; return what the file was."""
        from pipeline.gguf.checkpoint import write_checkpoint

        fetched = params.file is None
        file = next(inputs[FOLDER].rglob("*.gguf")) if fetched else inputs["file"]
        return write_checkpoint(file, out_dir)
