"""Parameters of an adapter that is kept beside the model. Free of any ML library."""

from __future__ import annotations

from pydantic import Field

from pipeline.contract.frozen import Frozen


class SeparateParams(Frozen):
    """What the adapter is called, and which other adapters fit the same model."""

    name: str = Field(default="adapter", pattern=r"^[A-Za-z0-9_-]+$")
    """Name of the adapter's file, without its ending: ``NAME.onnx_adapter``."""
    layers: tuple[str, ...] = ()
    """Layers that an adapter can change, by the last parts of their names: ``["q_proj",
    "v_proj"]``. Builds with the same layers and the same base have the same model, byte for byte,
    so that their adapters can be shipped with one. Default: the layers of this adapter."""
