"""Text: the first lines that differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path

from targets.release.differences.difference import Difference, Pair, Unreadable
from targets.release.differences.words import counted, short, sides

_LARGEST = 256 * 1000 * 1000
_MATCHED_LINES = 500  # matching takes time by the square of the lines


def differences(pair: Pair) -> Iterator[Difference]:
    """Yield the lines that differ."""
    released, rebuilt = (read_text(path, side) for path, side in both(pair))
    yield from line_differences(pair.name, released, rebuilt)


def both(pair: Pair) -> tuple[tuple[Path, str], tuple[Path, str]]:
    """Return each path of a pair with the word for its side."""
    return (pair.released, "released"), (pair.rebuilt, "rebuilt")


def read_text(path: Path, side: str) -> str:
    """Return a file's text. Raises ``Unreadable`` where it is none, or too large to be read."""
    size = path.stat().st_size
    if size > _LARGEST:
        raise Unreadable(side, f"as text: it has {size:,} bytes")
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(side, f"as UTF-8 text: byte {error.start:,} is wrong") from None


def common_ends(first: Sequence[object], second: Sequence[object]) -> tuple[int, int]:
    """Return how many items two sequences share at their beginning and at their end."""
    shorter = min(len(first), len(second))
    start = 0
    while start < shorter and first[start] == second[start]:
        start += 1
    end = 0
    while end < shorter - start and first[-1 - end] == second[-1 - end]:
        end += 1
    return start, end


def line_differences(name: str, released: str, rebuilt: str) -> Iterator[Difference]:
    """Yield how two texts differ, line by line; lines are counted as in the released text."""
    old, new = (text.split("\n") for text in (released, rebuilt))
    if [line.rstrip("\r") for line in old] == [line.rstrip("\r") for line in new]:
        ends = [text.count("\r\n") for text in (released, rebuilt)]
        yield Difference(
            file=name,
            where="line ends",
            what=f"CR LF at {counted(ends[0], 'line')} released, at {ends[1]:,} rebuilt; "
            "the lines are the same",
        )
        return
    start, end = common_ends(old, new)
    old, new = old[start : len(old) - end], new[start : len(new) - end]
    for tag, a, b, c, d in _blocks(old, new):
        if tag == "equal":
            continue
        for at in range(max(b - a, d - c)):
            where = f"line {start + a + min(at, b - a) + 1}"
            if at < b - a and at < d - c:
                if old[a + at] == new[c + at]:
                    continue
                what = sides(old[a + at], new[c + at])
            elif at < b - a:
                what = f"only released: {short(old[a + at])}"
            else:
                what = f"only rebuilt: {short(new[c + at])}"
            yield Difference(file=name, where=where, what=what)


def _blocks(old: Sequence[str], new: Sequence[str]) -> list[tuple[str, int, int, int, int]]:
    if max(len(old), len(new)) > _MATCHED_LINES:
        return [("replace", 0, len(old), 0, len(new))]
    return list(SequenceMatcher(None, old, new, autojunk=False).get_opcodes())
