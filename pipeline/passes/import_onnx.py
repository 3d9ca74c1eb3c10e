"""Copies an existing ONNX Runtime GenAI model folder into the build."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import JsonValue

from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass


class ImportOnnxParams(Frozen):
    """The model folder."""

    folder: str
    """Folder that ``onnxruntime_genai.Model`` loads, relative to the config file."""


class Pass(BasePass[ImportOnnxParams]):
    """Copy the folder, so that the artifact shares no file with the user's folder."""

    Params = ImportOnnxParams
    produces: ClassVar[Kind] = "onnx"
    sources: ClassVar[tuple[str, ...]] = ("folder",)
    runs_on: ClassVar[Literal["host", "target"]] = "target"

    def run(
        self,
        inputs: Inputs,
        params: ImportOnnxParams,  # noqa: ARG002 - the input has its name
        out_dir: Path,
    ) -> dict[str, JsonValue]:
        """Copy it."""
        shutil.copytree(inputs["folder"], out_dir, dirs_exist_ok=True)
        return {}
