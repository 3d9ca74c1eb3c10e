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
from targets.release.differences.placed import Place, Placed, layout_differences
from targets.release.differences.tensors import Tensor, in_words, mapped
from targets.release.differences.text_lines import both

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
    header: str
    metadata: Any
    tensors: dict[str, Tensor]
    placed: Placed


def differences(pair: Pair) -> Iterator[Difference]:
    """Yield the metadata and tensors that differ, then places and bytes that belong to none."""
    released, rebuilt = (_read(path, side) for path, side in both(pair))
    found = False
    for one in _differences(pair.name, released, rebuilt):
        found = True
        yield one
    if released.header != rebuilt.header and not found:
        yield Difference(
            file=pair.name,
            where="header",
            what="the data is the same, only the order of the header's keys or its spaces differ",
        )


def _differences(name: str, released: _File, rebuilt: _File) -> Iterator[Difference]:
    yield from value_differences(name, released.metadata, rebuilt.metadata, "__metadata__")
    for key, tensor in released.tensors.items():
        if key not in rebuilt.tensors:
            yield Difference(file=name, where=key, what=f"only released: {tensor}")
            continue
        what, size = in_words(tensor, rebuilt.tensors[key])
        if what:
            yield Difference(file=name, where=key, what=f"{_label(tensor, what)}{what}", size=size)
    for key, tensor in rebuilt.tensors.items():
        if key not in released.tensors:
            yield Difference(file=name, where=key, what=f"only rebuilt: {tensor}")
    yield from layout_differences(name, released.placed, rebuilt.placed)


def _label(tensor: Tensor, what: str) -> str:
    return "" if what.startswith((str(tensor), "the ")) else f"{tensor}: "


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
    tensors, places = {}, {}
    for name, entry in header.items():
        place = _place(entry, begin)
        if place is None:
            given = json.dumps(entry)[:80]
            raise Unreadable(side, f"as safetensors: {name} is described as {given}")
        places[name] = place
        tensors[name] = Tensor(
            name,
            _DTYPES.get(str(entry["dtype"]), f"unknown type {entry['dtype']}"),
            tuple(entry["shape"]),
            data[place.start : place.end],
        )
    return _File(text, metadata, tensors, Placed(data, places, begin))


def _place(entry: Any, begin: int) -> Place | None:
    match entry:
        case {"dtype": str(), "shape": [*shape], "data_offsets": [int(start), int(end)]}:
            if all(isinstance(one, int) and one >= 0 for one in shape) and 0 <= start <= end:
                return Place(begin + start, begin + end)
    return None
