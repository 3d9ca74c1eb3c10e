"""JSON Lines: each line as JSON."""

from __future__ import annotations

from collections.abc import Iterator

from targets.release.differences.difference import Difference, Pair, Unreadable
from targets.release.differences.json_values import parsed, value_differences, written_otherwise
from targets.release.differences.text_lines import both, common_ends, line_differences, read_text
from targets.release.differences.words import short, sides


def differences(pair: Pair) -> Iterator[Difference]:
    """Yield the keys whose values differ, line by line."""
    texts = [read_text(path, side) for path, side in both(pair)]
    old, new = ([line.rstrip("\r") for line in text.split("\n")] for text in texts)
    if old == new:
        yield from line_differences(pair.name, texts[0], texts[1])
        return
    start, end = (0, 0) if len(old) == len(new) else common_ends(old, new)
    middle = min(len(old), len(new)) - end
    for side, longer in (("released", old), ("rebuilt", new)):
        for at in range(middle, len(longer) - end):
            yield Difference(
                file=pair.name, where=f"line {at + 1}", what=f"only {side}: {short(longer[at])}"
            )
    for at in range(start, middle):
        if old[at] != new[at]:
            yield from _line(pair.name, f"line {at + 1}", old[at], new[at])


def _line(name: str, where: str, old: str, new: str) -> Iterator[Difference]:
    try:
        released, rebuilt = parsed(old, "released"), parsed(new, "rebuilt")
    except Unreadable as error:
        yield Difference(file=name, where=where, what=f"{error}: {sides(old, new)}")
        return
    found = False
    for one in value_differences(name, released, rebuilt):
        found = True
        yield one.model_copy(update={"where": f"{where}: {one.where}"})
    if not found:
        yield written_otherwise(name, where, old, new)
