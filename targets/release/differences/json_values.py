"""JSON: which keys differ and by how much."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.reading.json_text import parse_json
from targets.release.differences.difference import Difference, Pair, Unreadable
from targets.release.differences.formatting import relative, share, short, sides

_LARGEST = 256 * 1000 * 1000
"""Bytes."""
_PLAIN_KEY = re.compile(r"[A-Za-z_][\w-]*")


def differences(pair: Pair) -> Iterator[Difference]:
    """Yield the keys whose values differ."""
    released, rebuilt = (parsed(_text(path, side), side) for path, side in pair.sides)
    yield from value_differences(pair.name, released, rebuilt)


def parsed(text: str, side: str) -> Any:
    """Return the value of a JSON text. Raises ``Unreadable`` where it is none."""
    try:
        return parse_json(text)
    except ValueError as error:
        raise Unreadable(side, f"as JSON: {error}") from None


def value_differences(
    name: str, released: Any, rebuilt: Any, prefix: str = ""
) -> Iterator[Difference]:
    """Yield how two JSON values differ, in the order of the released one."""
    waiting = [(prefix, released, rebuilt)]
    while waiting:
        place, old, new = waiting.pop()
        if isinstance(old, dict) and isinstance(new, dict):
            for side, one, other in (("rebuilt", new, old), ("released", old, new)):
                for key in (key for key in one if key not in other):
                    message = f"only {side}: {short(one[key])}"
                    yield Difference(file=name, where=_below(place, key), what=message)
            shared = [(_below(place, key), old[key], new[key]) for key in old if key in new]
            waiting.extend(reversed(shared))
        elif isinstance(old, list) and isinstance(new, list):
            if len(old) != len(new):
                message = f"{len(old):,} items released, {len(new):,} rebuilt"
                yield Difference(file=name, where=place or "value", what=message)
                continue
            shared = [
                (f"{place}[{at}]", *pair) for at, pair in enumerate(zip(old, new, strict=True))
            ]
            waiting.extend(reversed(shared))
        elif repr(old) != repr(new):
            yield _changed(name, place, old, new)


def _text(path: Path, side: str) -> str:
    size = path.stat().st_size
    if size > _LARGEST:
        raise Unreadable(side, f"as JSON: it has {size:,} bytes")
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(side, f"as UTF-8 text: byte {error.start:,} is wrong") from None


def _below(place: str, key: str) -> str:
    if not _PLAIN_KEY.fullmatch(key):
        return f"{place}[{json.dumps(key, ensure_ascii=False)}]"
    return f"{place}.{key}" if place else key


def _changed(name: str, place: str, old: Any, new: Any) -> Difference:
    message, size = sides(old, new), None
    if _is_number(old) and _is_number(new):
        size = relative(old, new)
        message += f" ({share(size)})" if size else ""
    return Difference(file=name, where=place or "value", what=message, size=size)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
