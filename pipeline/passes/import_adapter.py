"""Copies an adapter that was trained elsewhere into the build."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass


class ImportAdapterParams(Frozen):
    """The adapter's folder."""

    folder: str
    """Folder that PEFT saved, relative to the config file."""


class Pass(BasePass[ImportAdapterParams]):
    """Copy an adapter whose layers and shapes are those of the base model."""

    Params = ImportAdapterParams
    consumes: ClassVar[Mapping[str, Kind]] = {"model": "checkpoint"}
    produces: ClassVar[Kind] = "adapter"
    sources: ClassVar[tuple[str, ...]] = ("folder",)
    added_by_planner: ClassVar[bool] = True

    def run(
        self,
        inputs: Inputs,
        params: ImportAdapterParams,  # noqa: ARG002 - the input has its name
        out_dir: Path,
    ) -> dict[str, JsonValue]:
        """Write a PEFT adapter folder; return the kind of the adapter and its number of layers."""
        from pipeline.training.imported_adapter import import_adapter

        return import_adapter(inputs["folder"], inputs["model"], out_dir, inputs.report)
