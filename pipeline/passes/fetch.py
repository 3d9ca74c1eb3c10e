"""Brings a model of the Hugging Face hub here."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from pipeline.model import Frozen
from pipeline.passes.base import BasePass, Inputs
from pipeline.plan import Kind


class FetchParams(Frozen):
    """Which model, which commit, which files."""

    repo: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")
    """Name of the repository: ``microsoft/Phi-3-mini-4k-instruct``."""
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    """Commit of the repository, 40 hexadecimal digits: a branch or tag would change under you."""
    weights: Literal["safetensors", "any"] = "safetensors"
    """``any`` also fetches pickled weights, which can hold code, where there are no others."""
    trust_remote_code: bool = False
    """Fetch the Python files of the repository too."""


class Pass(BasePass[FetchParams]):
    """Download a checkpoint at a fixed commit."""

    Params = FetchParams
    produces: ClassVar[Kind] = "checkpoint"
    network: ClassVar[bool] = True

    def run(self, inputs: Inputs, params: FetchParams, out_dir: Path) -> dict[str, JsonValue]:
        """Write the repository's files; return their number and size."""
        from pipeline.training.hub import fetch

        return fetch(params, inputs.report, out_dir)
