"""Tensors that lie at given places of one file: their values, their places, the bytes between."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from targets.release.differences.difference import Difference
from targets.release.differences.tensors import Tensor, differing_bytes
from targets.release.differences.words import counted, of_all


@dataclass(frozen=True)
class Place:
    """Bytes ``start`` to ``end`` of a file."""

    start: int
    end: int


@dataclass(frozen=True)
class Placed:
    """One side's file: its bytes, where its tensors lie, and where the first may begin."""

    data: Any
    places: Mapping[str, Place]
    begin: int = 0


Comparison = Callable[[Tensor, Tensor], tuple[str, float | None]]


def layout_differences(file: str, released: Placed, rebuilt: Placed) -> Iterator[Difference]:
    """Yield how the places of tensors differ, and the bytes that belong to none."""
    shared = [name for name in released.places if name in rebuilt.places]
    moved = [
        name
        for name in shared
        if released.places[name].start - released.begin
        != rebuilt.places[name].start - rebuilt.begin
    ]
    if moved:
        old, new = released.places[moved[0]].start, rebuilt.places[moved[0]].start
        lie = "lies" if len(moved) == 1 else "lie"
        yield Difference(
            file=file,
            where="layout",
            what=f"{counted(len(moved), 'tensor')} {lie} elsewhere in the file, the first is "
            f"{moved[0]}: at byte {old:,} released, {new:,} rebuilt",
        )
    elif all(_span(released, name) == _span(rebuilt, name) for name in shared):
        yield from _padding(file, released, rebuilt)
    after = [len(side.data) - max(_ends(side)) for side in (released, rebuilt)]
    if after[0] != after[1]:
        yield Difference(
            file=file,
            where="end of the file",
            what=f"{_follow(after[0])} released, {_follow(after[1])} rebuilt",
        )


def _padding(file: str, released: Placed, rebuilt: Placed) -> Iterator[Difference]:
    """Yield how the bytes differ that follow a tensor and belong to none."""
    spans = sorted((place.start, place.end, name) for name, place in released.places.items())
    spans = [(0, released.begin, ""), *spans, (len(released.data), len(released.data), "")]
    shift = rebuilt.begin - released.begin
    end, last = released.begin, ""
    for (_, ended, name), (start, _, following) in pairwise(spans):
        if ended >= end:
            end, last = ended, name
        gap = min(start, len(released.data), len(rebuilt.data) - shift) - end
        if gap <= 0:
            continue
        count, at = differing_bytes(
            released.data[end : end + gap], rebuilt.data[end + shift : end + shift + gap]
        )
        if at is not None:
            before = f"before {following}" if following else "at the end"
            place = f"between {last} and {following}" if last and following else before
            yield Difference(
                file=file,
                where="padding",
                what=f"bytes {end:,} to {end + gap - 1:,}, {place}, belong to no tensor: "
                f"{of_all(count, gap, 'byte')}, the first at byte {end + at:,}",
            )


def _span(side: Placed, name: str) -> int:
    return side.places[name].end - side.places[name].start


def _ends(side: Placed) -> list[int]:
    return [side.begin, *(place.end for place in side.places.values())]


def _follow(count: int) -> str:
    if count < 0:
        return f"{counted(-count, 'byte')} of the tensors missing"
    return f"{counted(count, 'byte')} after the last tensor"
