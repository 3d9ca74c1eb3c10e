"""Safetensors: which tensors differ and by how much.

The format (https://github.com/huggingface/safetensors#format): eight bytes with the length of the
header, little-endian; the header, JSON; then the tensors at the offsets that the header gives.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from targets.release.differences.difference import Difference, Pair, Unreadable
from targets.release.differences.json_values import parsed, value_differences
from targets.release.differences.tensors import Tensor, in_words, mapped

_LONGEST_HEADER = 100_000_000
_DTYPES = {
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    "BF16": "bfloat16",
    "BOOL": "bool",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E8M0": "float8_e8m0fnu",
    "F4": "float4_e2m1fn",
}


@dataclass(frozen=True)
class _File:
    metadata: Any
    tensors: dict[str, Tensor]


def differences(pair: Pair) -> Iterator[Difference]:
    """Yield the metadata and tensors that differ."""
    released, rebuilt = (_read(path, side) for path, side in pair.sides)
    name = pair.name
    yield from value_differences(name, released.metadata, rebuilt.metadata, "__metadata__")
    for key, tensor in released.tensors.items():
        if key not in rebuilt.tensors:
            yield Difference(file=name, where=key, what=f"only released: {tensor}")
            continue
        message, size = in_words(tensor, rebuilt.tensors[key])
        if message:
            yield Difference(
                file=name, where=key, what=f"{_label(tensor, message)}{message}", size=size
            )
    for key, tensor in rebuilt.tensors.items():
        if key not in released.tensors:
            yield Difference(file=name, where=key, what=f"only rebuilt: {tensor}")


def _label(tensor: Tensor, message: str) -> str:
    return "" if message.startswith((str(tensor), "the ")) else f"{tensor}: "


def _read(path: Path, side: str) -> _File:
    data = mapped(path)
    if len(data) < 8:
        raise Unreadable(side, f"as safetensors: it has {len(data)} bytes")
    length = int.from_bytes(data[:8].tobytes(), "little")
    begin = 8 + length
    if length > _LONGEST_HEADER or begin > len(data):
        raise Unreadable(
            side, f"as safetensors: its header has {length:,} bytes, the file {len(data):,}"
        )
    try:
        text = data[8:begin].tobytes().decode()
    except UnicodeDecodeError:
        raise Unreadable(side, "as safetensors: its header is not text") from None
    header = parsed(text, side)
    if not isinstance(header, dict):
        raise Unreadable(side, "as safetensors: its header is not an object")
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        place = _place(entry, begin)
        if place is None:
            shown = json.dumps(entry)[:80]
            raise Unreadable(side, f"as safetensors: {name} is described as {shown}")
        tensors[name] = Tensor(
            name,
            _DTYPES.get(str(entry["dtype"]), f"unknown type {entry['dtype']}"),
            tuple(entry["shape"]),
            data[place],
        )
    return _File(metadata, tensors)


def _place(entry: Any, begin: int) -> slice | None:
    match entry:
        case {"dtype": str(), "shape": [*shape], "data_offsets": [int(start), int(end)]}:
            if all(isinstance(one, int) and one >= 0 for one in shape) and 0 <= start <= end:
                return slice(begin + start, begin + end)
    return None
