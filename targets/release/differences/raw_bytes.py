"""Files of no known kind: sizes, the first byte that differs, and how many do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from targets.release.differences.difference import Difference, Pair
from targets.release.differences.formatting import counted, of_all

_CHUNK = 1 << 20


def same_bytes(released: Path, rebuilt: Path) -> bool:
    """Return whether two files hold the same bytes."""
    if released.stat().st_size != rebuilt.stat().st_size:
        return False
    with released.open("rb") as first, rebuilt.open("rb") as second:
        while chunk := first.read(_CHUNK):
            if chunk != second.read(_CHUNK):
                return False
    return True


def differences(pair: Pair) -> Iterator[Difference]:
    """Yield one difference that says how the bytes differ, or none where they are equal."""
    message = in_words(pair.released, pair.rebuilt)
    if message:
        yield Difference(file=pair.name, where="bytes", what=message)


def in_words(released: Path, rebuilt: Path) -> str:
    """Return how the bytes of two files differ; empty where they do not."""
    sizes = released.stat().st_size, rebuilt.stat().st_size
    first, count = _differing(released, rebuilt)
    parts = []
    if sizes[0] != sizes[1]:
        parts.append(f"{counted(sizes[0], 'byte')} released, {sizes[1]:,} rebuilt")
    if first is not None:
        common = of_all(count, min(sizes), "byte")
        parts.append(f"{common}, the first at offset {first:,}")
    elif parts:
        parts.append("the shorter one is the beginning of the longer one")
    return "; ".join(parts)


def _differing(released: Path, rebuilt: Path) -> tuple[int | None, int]:
    """Return the first offset that differs and the number of bytes that do, where both have any."""
    first, count, offset = None, 0, 0
    with released.open("rb") as one, rebuilt.open("rb") as other:
        while (a := one.read(_CHUNK)) and (b := other.read(_CHUNK)):
            length = min(len(a), len(b))
            if a[:length] != b[:length]:
                # The zero bytes of the exclusive-or are those that are equal.
                xor = int.from_bytes(a[:length], "big") ^ int.from_bytes(b[:length], "big")
                unequal = xor.to_bytes(length, "big")
                count += length - unequal.count(0)
                if first is None:
                    first = offset + length - len(unequal.lstrip(b"\0"))
            offset += length
    return first, count
