"""Makes a checkpoint from a GGUF file, llama.cpp's format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind
from pipeline.contract.space import Written
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass


class ImportGgufParams(Frozen):
    """The file."""

    file: str
    """GGUF file, relative to the config file."""

    def writes(self, inputs: Mapping[str, Written]) -> Written | None:
        """Return the size of the checkpoint; ``None`` if that of the file is not known."""
        return inputs.get("file")


class Pass(BasePass[ImportGgufParams]):
    """Turn a GGUF file's weights back into plain numbers, and make its tokenizer."""

    Params = ImportGgufParams
    produces: ClassVar[Kind] = "checkpoint"
    sources: ClassVar[tuple[str, ...]] = ("file",)
    by_itself: ClassVar[bool] = True

    def run(
        self,
        inputs: Inputs,
        params: ImportGgufParams,  # noqa: ARG002 - the input has its name
        out_dir: Path,
    ) -> dict[str, JsonValue]:
        """Write a checkpoint folder; return what the file was."""
        from pipeline.gguf.checkpoint import write_checkpoint

        return write_checkpoint(inputs["file"], out_dir)
