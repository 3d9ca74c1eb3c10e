"""Checkpoint folders without weights."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from pipeline.onnx.checkpoint import Checkpoint


def checkpoint(folder: Path, shapes: dict[str, list[int]], **config: object) -> Checkpoint:
    """Write a checkpoint whose weights are a header only: nothing reads further."""
    header = {n: {"dtype": "F32", "shape": s, "data_offsets": [0, 0]} for n, s in shapes.items()}
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return Checkpoint(folder)
