"""Writes a checkpoint tensor by tensor, distributed over files like another checkpoint.

The format is that of safetensors (https://huggingface.co/docs/safetensors): eight bytes of header
length (little endian), the header as JSON, padded with spaces, then the tensors end to end. The
library itself can only write files that are in memory as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.weights.files import INDEX_FILE, SINGLE_FILE, weight_files

if TYPE_CHECKING:
    import torch

    from pipeline.weights.deferred import Deferred

_ALIGNMENT = 8
_TYPES = {
    "torch.float64": "F64",
    "torch.float32": "F32",
    "torch.float16": "F16",
    "torch.bfloat16": "BF16",
    "torch.int64": "I64",
    "torch.int32": "I32",
    "torch.int16": "I16",
    "torch.int8": "I8",
    "torch.uint8": "U8",
    "torch.bool": "BOOL",
}


def write_shards(
    tensors: Mapping[str, Deferred], base: Path, folder: Path, progress: Callable[[int, int], None]
) -> None:
    """Write ``tensors`` into ``folder``, each into the file that holds it in ``base``; other
    tensors of ``base`` are left out.

    Only one tensor is in memory at a time. ``progress`` is called with the number of tensors that
    are written and the number of all.
    """
    from safetensors import safe_open

    total = 0
    for file in weight_files(base):
        with safe_open(file, framework="pt") as opened:
            names = [name for name in opened.keys() if name in tensors]  # noqa: SIM118 - not a dict
        write_file(
            folder / file.name,
            {name: tensors[name] for name in names},
            total,
            len(tensors),
            progress,
        )
        total += len(names)
    if not (base / SINGLE_FILE).is_file():
        _write_index(tensors, base / INDEX_FILE, folder / INDEX_FILE)


def write_file(
    path: Path,
    tensors: Mapping[str, Deferred],
    before: int = 0,
    total: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write ``tensors`` to one file, tensor by tensor."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.numel() * tensor.dtype.itemsize
        header[name] = {
            "dtype": _TYPES[str(tensor.dtype)],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for number, tensor in enumerate(tensors.values(), start=1):
            file.write(_bytes(tensor.computed()))
            if progress is not None:
                progress(before + number, total)


def _bytes(tensor: torch.Tensor) -> memoryview:
    import torch

    # NumPy has no bfloat16, so the tensor is viewed as bytes.
    return memoryview(tensor.contiguous().flatten().view(torch.uint8).numpy())


def _write_index(tensors: Mapping[str, Deferred], base: Path, path: Path) -> None:
    """Write the index of ``base`` with the total size of ``tensors``."""
    index = json.loads(base.read_text("utf-8"))
    size = sum(tensor.numel() * tensor.dtype.itemsize for tensor in tensors.values())
    index["metadata"] = {**index.get("metadata", {}), "total_size": size}
    index["weight_map"] = {
        name: file for name, file in index["weight_map"].items() if name in tensors
    }
    path.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", "utf-8")
