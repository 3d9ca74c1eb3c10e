"""Whether two models of the builder are the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def assert_same_model(one: Path, other: Path) -> None:
    """Compare graph and weights of two builds byte by byte."""
    for name in ("model.onnx", "model.onnx.data"):
        assert (one / name).stat().st_size == (other / name).stat().st_size
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def facts(beside: Path, name: str) -> Mapping[str, Any]:
    recorded = json.loads((beside / name / "facts.json").read_text())
    assert isinstance(recorded, dict)
    return recorded
