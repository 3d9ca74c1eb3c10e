"""How far two tensors lie apart, read in chunks from mapped files.

Only modules that ``kinds`` imports late may import this one: it needs NumPy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes  # registers bfloat16 and the other small types with NumPy
import numpy as np

from targets.release.differences.formatting import both_values, of_all, relative, share

_CHUNK_ELEMENTS = 1 << 20
_PACKED_BITS = {"uint4": 4, "int4": 4, "float4_e2m1fn": 4, "uint2": 2, "int2": 2}
_BYTES_ONLY = ("string", "complex", "float6", "unknown")


@dataclass(frozen=True)
class Tensor:
    """Values as they lie in a file: little-endian, in row order, small types packed from the low
    bits up."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: Any
    """One-dimensional array of bytes."""

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"

    @property
    def has_values(self) -> bool:
        """Whether its bytes can be read as numbers."""
        return not self.dtype.startswith(_BYTES_ONLY)

    @property
    def elements(self) -> int:
        """How many values it has."""
        return math.prod(self.shape)

    @property
    def missized(self) -> str:
        """What is wrong with the number of its bytes; empty where nothing is."""
        if not self.has_values:
            return ""
        needed = (self.elements * _bits(self.dtype) + 7) // 8
        if needed == len(self.data):
            return ""
        return f"{self} takes {needed:,} bytes, but {len(self.data):,} are there"


@dataclass(frozen=True)
class Change:
    """Where two tensors of one type and shape differ most."""

    differing: int
    total: int
    largest: float | None
    """The largest absolute difference; None where no differing pair is finite."""
    relative: float | None
    at: tuple[int, ...]
    values: tuple[float, float]
    not_finite: int
    """How many of the differing pairs have an infinity or NaN."""


def mapped(path: Path) -> Any:
    """Return a file's bytes as an array, read from disk only where they are looked at."""
    if path.stat().st_size == 0:  # an empty file cannot be mapped
        return np.empty(0, np.uint8)
    return np.memmap(path, np.uint8, mode="r")


def as_bytes(data: bytes) -> Any:
    """Return bytes as an array."""
    return np.frombuffer(data, np.uint8)


def differing_bytes(first: Any, second: Any) -> tuple[int, int | None]:
    """Return how many bytes of two arrays of one length differ, and the first that does."""
    count, at = 0, None
    for start in range(0, len(first), _CHUNK_ELEMENTS):
        stop = start + _CHUNK_ELEMENTS
        unequal = np.flatnonzero(first[start:stop] != second[start:stop])
        count += len(unequal)
        if at is None and len(unequal):
            at = start + int(unequal[0])
    return count, at


def change_between(first: Tensor, second: Tensor) -> Change | None:
    """Return how two tensors of one type and shape differ; None where their bits are equal."""
    differing = not_finite = 0
    top = top_relative = None
    place, shown = 0, (math.nan, math.nan)
    for start in range(0, first.elements, _CHUNK_ELEMENTS):
        stop = min(start + _CHUNK_ELEMENTS, first.elements)
        codes = _codes(first, start, stop), _codes(second, start, stop)
        unequal = np.flatnonzero((codes[0] != codes[1]).any(axis=1))
        if not len(unequal):
            continue
        old, new = (
            _values(side[unequal], one.dtype)
            for side, one in zip(codes, (first, second), strict=True)
        )
        finite = np.isfinite(old) & np.isfinite(new)
        if not differing:
            place, shown = start + int(unequal[0]), (float(old[0]), float(new[0]))
        differing += len(unequal)
        not_finite += int((~finite).sum())
        old, new, unequal = old[finite], new[finite], unequal[finite]
        if not len(old):
            continue
        with np.errstate(all="ignore"):
            apart = np.abs(old - new)
            scale = np.maximum(np.abs(old), np.abs(new))
            shares = np.divide(apart, scale, out=np.zeros_like(apart), where=scale > 0)
        most = int(apart.argmax())
        if top is None or apart[most] > top:
            top = float(apart[most])
            place, shown = start + int(unequal[most]), (float(old[most]), float(new[most]))
        top_relative = max(top_relative or 0.0, float(shares.max()))
    if not differing:
        return None
    at = tuple(int(index) for index in np.unravel_index(place, first.shape or (1,)))
    return Change(
        differing,
        first.elements,
        top,
        top_relative,
        at if first.shape else (),
        shown,
        not_finite,
    )


def in_words(first: Tensor, second: Tensor, steps: int = 0) -> tuple[str, float | None]:
    """Return how two tensors differ and the largest relative difference; empty where they do not.

    ``steps`` is the range of quantized values, whose differences are counted in steps of it.
    """
    if (first.dtype, first.shape) != (second.dtype, second.shape):
        return f"{first} released, {second} rebuilt; its values are not compared", None
    wrong = [
        f"the {side} tensor is damaged: {one.missized}"
        for one, side in ((first, "released"), (second, "rebuilt"))
        if one.missized
    ]
    if wrong:
        return "; ".join(wrong), None
    if not first.has_values:
        return _bytes_in_words(first, second), None
    change = change_between(first, second)
    if change is None:
        return "", None
    noun = "quantized value" if steps else "value"
    counts = of_all(change.differing, change.total, noun)
    place = f"at {list(change.at)}" if change.at else "it"
    values = both_values(*change.values)
    if change.largest is None:
        return f"{counts}, {place}: {values}", None
    size = change.relative
    if steps:
        size = change.largest / steps
        by = f"by {change.largest:g} step{'s' * (change.largest != 1)} of {steps}"
    elif change.largest == 0:
        by = "only in the sign of zero"
    else:
        by = f"by {change.largest:.3g}"
        relative_size = relative(*change.values)
        if relative_size is not None:
            by += f" ({share(relative_size)})"
    largest = "" if change.differing == 1 else "the most "
    text = f"{counts}, {largest}{place}: {values}, {by}"
    if not steps and change.differing > 1 and change.relative:
        text += f"; the largest relative difference is {share(change.relative)}"
    if change.not_finite:
        text += f"; {change.not_finite:,} of them are infinite or no number on one side"
    return text, size


def _bytes_in_words(first: Tensor, second: Tensor) -> str:
    if len(first.data) != len(second.data):
        return f"{len(first.data):,} bytes released, {len(second.data):,} rebuilt"
    count, at = differing_bytes(first.data, second.data)
    return f"{of_all(count, len(first.data), 'byte')}, the first at {at:,}" if count else ""


def _bits(dtype: str) -> int:
    return _PACKED_BITS.get(dtype) or 8 * int(_numpy_type(dtype).itemsize)


def _codes(tensor: Tensor, start: int, stop: int) -> Any:
    """Return elements ``start`` to ``stop`` as rows of bytes; ``start`` fills whole bytes."""
    bits = _bits(tensor.dtype)
    chunk = np.asarray(tensor.data[start * bits // 8 : (stop * bits + 7) // 8])
    if bits >= 8:
        return chunk.reshape(stop - start, bits // 8)
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes = (chunk[:, None] >> shifts) & np.uint8((1 << bits) - 1)
    return codes.reshape(-1, 1)[: stop - start]


def _values(codes: Any, dtype: str) -> Any:
    if dtype in ("uint4", "uint2"):
        return codes[:, 0].astype(np.float64)
    if dtype in ("int4", "int2"):
        size = 1 << _PACKED_BITS[dtype]
        values = codes[:, 0].astype(np.float64)
        return np.where(values >= size // 2, values - size, values)
    numpy_type = _numpy_type(dtype)
    return np.ascontiguousarray(codes).view(numpy_type)[:, 0].astype(np.float64)


def _numpy_type(dtype: str) -> Any:
    return np.dtype(getattr(ml_dtypes, dtype, dtype))
