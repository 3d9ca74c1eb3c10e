"""Files in the format of safetensors, written by hand: unit tests need no ML library for them."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path


def write_safetensors(path: Path, tensors: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """Write matrices of 32-bit floats: eight bytes of header length (little endian), the header as
    JSON, the data end to end (https://huggingface.co/docs/safetensors, format)."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, rows in tensors.items():
        numbers = [number for row in rows for number in row]
        begin = len(data)
        data += struct.pack(f"<{len(numbers)}f", *numbers)
        shape = [len(rows), len(rows[0])]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_index(folder: Path, weight_map: Mapping[str, str]) -> None:
    """Write the index of a checkpoint in several files."""
    text = json.dumps({"metadata": {"total_size": 0}, "weight_map": weight_map})
    (folder / "model.safetensors.index.json").write_text(text, "utf-8")
