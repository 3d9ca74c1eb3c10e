"""JSON: which keys differ and by how much, or that only the way it is written does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from targets.release.differences.difference import Difference, Pair, Unreadable
from targets.release.differences.text_lines import both, common_ends, line_differences, read_text
from targets.release.differences.words import relative, share, short, sides

_PLAIN_KEY = re.compile(r"[A-Za-z_][\w-]*")


def differences(pair: Pair) -> Iterator[Difference]:
    """Yield the keys whose values differ."""
    texts = [read_text(path, side) for path, side in both(pair)]
    released, rebuilt = (
        parsed(text, side) for text, side in zip(texts, ("released", "rebuilt"), strict=True)
    )
    found = False
    for one in value_differences(pair.name, released, rebuilt):
        found = True
        yield one
    if not found:
        yield written_otherwise(pair.name, "", texts[0], texts[1])


def parsed(text: str, side: str) -> Any:
    """Return the value of a JSON text.

    Raises ``Unreadable`` where it is none, or where a key stands twice: which one counts is then
    not settled.
    """
    try:
        return json.loads(text, object_pairs_hook=_once)
    except ValueError as error:
        raise Unreadable(side, f"as JSON: {error}") from None
    except RecursionError:
        raise Unreadable(side, "as JSON: it is nested too deeply") from None


def value_differences(
    name: str, released: Any, rebuilt: Any, prefix: str = ""
) -> Iterator[Difference]:
    """Yield how two JSON values differ, in the order of the released one."""
    waiting = [(prefix, released, rebuilt)]
    while waiting:
        place, old, new = waiting.pop()
        if isinstance(old, dict) and isinstance(new, dict):
            for key in new:
                if key not in old:
                    yield _only(name, _below(place, key), "rebuilt", new[key])
            for key in old:
                if key not in new:
                    yield _only(name, _below(place, key), "released", old[key])
            shared = [(_below(place, key), old[key], new[key]) for key in old if key in new]
            waiting.extend(reversed(shared))
        elif isinstance(old, list) and isinstance(new, list):
            start, end = (0, 0) if len(old) == len(new) else common_ends(old, new)
            middle = min(len(old), len(new)) - end
            for side, longer in (("released", old), ("rebuilt", new)):
                for at in range(middle, len(longer) - end):
                    yield _only(name, f"{place}[{at}]", side, longer[at])
            shared = [(f"{place}[{at}]", old[at], new[at]) for at in range(start, middle)]
            waiting.extend(reversed(shared))
        elif type(old) is not type(new) or old != new:
            if isinstance(old, float) and isinstance(new, float) and old != old and new != new:
                continue  # both are NaN
            yield _changed(name, place, old, new)


def written_otherwise(name: str, where: str, released: str, rebuilt: str) -> Difference:
    """Return what to say of two texts that differ but hold the same values."""
    # Lists of pairs keep the order that objects ignore.
    orders = [json.loads(text, object_pairs_hook=list) for text in (released, rebuilt)]
    if repr(orders[0]) != repr(orders[1]):
        reason = "the order of keys"
    else:
        reason = "spaces, escapes or how numbers are written"
    first = next(line_differences(name, released, rebuilt), None)
    line = f", first in {first.where}: {first.what}" if first and not where else ""
    return Difference(
        file=name,
        where=where or "formatting",
        what=f"the data is the same, only {reason} differs{line}",
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {short(twice)} stands twice in one object")
    return found


def _below(place: str, key: str) -> str:
    if not _PLAIN_KEY.fullmatch(key):
        return f"{place}[{json.dumps(key, ensure_ascii=False)}]"
    return f"{place}.{key}" if place else key


def _only(name: str, place: str, side: str, value: Any) -> Difference:
    return Difference(file=name, where=place, what=f"only {side}: {short(value)}")


def _changed(name: str, place: str, old: Any, new: Any) -> Difference:
    what, size = sides(old, new), None
    if _is_number(old) and _is_number(new):
        size = relative(old, new)
        what += (
            f" ({share(size)})" if size else " (the same number, written otherwise)" * (old == new)
        )
    return Difference(file=name, where=place or "value", what=what, size=size)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
