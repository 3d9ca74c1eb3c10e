"""Copies an existing ONNX Runtime GenAI model folder into the build."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import JsonValue

from pipeline.contract.errors import StepError
from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass


class ImportOnnxParams(Frozen):
    """The model folder."""

    folder: str
    """Folder that ``onnxruntime_genai.Model`` loads, relative to the config file."""


class Pass(BasePass[ImportOnnxParams]):
    """Copy the model's files, so that the artifact shares none with the user's folder."""

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
        """Copy what the model needs; name what is left out."""
        from pipeline.onnx.needed_files import needed_files

        folder = inputs["folder"]
        try:
            needed = needed_files(folder)
        except ValueError as error:
            raise StepError(f"the model folder cannot be read: {error}", "", "bad_input") from error
        for name in needed:
            (out_dir / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, out_dir / name)
        there = (path for path in folder.rglob("*") if path.is_file())
        others = sorted({path.relative_to(folder).as_posix() for path in there} - {*needed})
        if others:
            inputs.report.warn(f"left out, as nothing refers to it: {', '.join(others)}")
        return {"files": len(needed)}
