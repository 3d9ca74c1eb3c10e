"""Strategies of what somebody could write who means no good, or whose disk was full."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

Tree = Any
"""A JSON value."""

_NUMBERS = (0, -1, 1, 2**31, 2**63, -(2**64), 10**25, 10**400, 0.5, -0.0, 1e308, 1e-320)
_TEXTS = (
    "",
    " ",
    "\0",
    "\x1b[31mred\x1b[0m",
    "\n::error::no",
    "x" * 300,
    "é\u2028\u202e\uffff",
    "~nobody-of-this-name/x",
    "../../../etc/passwd",
    "/dev/zero",
    "/proc/kmsg",
    ".",
    "a/" * 200,
    "{10000000000000000000000}",
    "{phrase!r:>{tone}}",
    "{",
    "{}",
    "%s%n",
    "<NAME>",
    "${HOME}",
    "hf:a/b@a branch",
    "hf:../..@main\n",
    "azureml://x",
    "{{ 0 | string * 99999999 }}",
    "99999999999999999999999999:",
    "1e999",
    "nan",
    "true",
    "step.py:X",
    "9" * 5000,
)


def nested(depth: int, wrapped: Tree = 0) -> Tree:
    """Return ``wrapped`` in ``depth`` lists and tables."""
    for level in range(depth):
        wrapped = [wrapped] if level % 2 else {"a": wrapped}
    return wrapped


values: st.SearchStrategy[Tree] = st.one_of(
    st.sampled_from(_NUMBERS),
    st.sampled_from(_TEXTS),
    st.sampled_from([None, True, False, [], {}, [[]], [None], {"": {}}, [{}]]),
    st.sampled_from([30, 90, 150]).map(nested),
    st.text(max_size=12),
    st.integers(),
    st.lists(st.sampled_from(_TEXTS), max_size=3),
    st.dictionaries(st.text(max_size=6), st.sampled_from(_NUMBERS), max_size=3),
).map(copy.deepcopy)  # what is drawn is changed later

snippets: st.SearchStrategy[bytes] = st.sampled_from(
    [
        *(text.encode() for text in _TEXTS),
        *(b"[" * 300, b"{" * 300, b'{"a":' * 300, b"]}" * 50, b'"', b"'", b'"""', b"\\", b"\\u"),
        *(b"\\ud800", b"1e999", b"9" * 5000, b"-Infinity", b"NaN", b"0x" + b"f" * 4000),
        *(b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xc3", b"\xed\xa0\x80", b"\r", b"\0\0\0\0"),
        *(b"/*", b"//", b"#", b"&a [*a]", b"<<: *x", b"!!python/object:os.system", b"---\n", b"%"),
        *(b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"1" + b"0" * 400, b"a.b." * 600, b'"\\x"= 1\n'),
    ]
)


@st.composite
def damaged(draw: st.DrawFn, content: bytes, most: int = 4) -> bytes:
    """Return ``content`` after it was cut, overwritten, or written into, a few times."""
    for _ in range(draw(st.integers(1, most))):
        at = draw(st.integers(0, len(content)))
        how = draw(st.sampled_from(["cut", "insert", "overwrite", "flip", "repeat", "empty"]))
        if how == "cut":
            content = content[:at]
        elif how == "insert":
            content = content[:at] + draw(snippets) + content[at:]
        elif how == "overwrite":
            piece = draw(snippets)
            content = content[:at] + piece + content[at + len(piece) :]
        elif how == "flip" and at < len(content):
            bit = 1 << draw(st.integers(0, 7))
            content = content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]
        elif how == "repeat":
            end = min(len(content), at + draw(st.integers(1, 64)))
            content = content[:end] + content[at:end] * draw(st.sampled_from([1, 50, 500]))
        elif how == "empty" and draw(st.booleans()):
            content = draw(st.sampled_from([b"", b"\0" * 64, b"\n"]))
    return content


@st.composite
def nudged(draw: st.DrawFn, tree: Tree) -> Tree:
    """Return ``tree`` with one number or text that differs a little: what may well be right."""
    tree = copy.deepcopy(tree)
    leaves = [place for place in _places(tree) if not isinstance(place[0][place[1]], (dict, list))]
    if not leaves:
        return tree
    holder, key = draw(st.sampled_from(leaves))
    value = holder[key]
    if isinstance(value, bool) or value is None:
        holder[key] = draw(st.sampled_from([True, False, 0, 1]))
    elif isinstance(value, (int, float)):
        holder[key] = draw(st.sampled_from([value + 1, value - 1, value * 2, value / 2, 0, 1, 100]))
    else:
        at = draw(st.integers(0, len(value)))
        holder[key] = value[:at] + draw(st.sampled_from(["", " ", "a", "é", "{tone}", "\n"]))
    return tree


@st.composite
def mutated(draw: st.DrawFn, tree: Tree, most: int = 3) -> Tree:
    """Return ``tree`` after a few of its values were replaced, removed, doubled or renamed."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, most))):
        places = list(_places(tree))
        if not places:
            return draw(values)
        holder, key = draw(st.sampled_from(places))
        how = draw(st.sampled_from(["replace", "replace", "remove", "rename", "wrap", "add"]))
        if how == "replace":
            holder[key] = draw(values)
        elif how == "remove":
            del holder[key]
        elif how == "wrap":
            holder[key] = draw(st.sampled_from([[holder[key]], {"a": holder[key]}]))
        elif isinstance(holder, dict):
            name = draw(st.one_of(st.sampled_from(_TEXTS), st.text(max_size=8)))
            holder[name] = holder.pop(key) if how == "rename" else draw(values)
        else:
            holder.insert(key, draw(values))
    return tree


def _places(tree: Tree) -> Iterator[tuple[Any, Any]]:
    """Yield every container of ``tree`` with each of its keys, without recursion."""
    waiting = [tree]
    while waiting:
        here = waiting.pop()
        keys = list(here) if isinstance(here, dict) else range(len(here))
        for key in keys:
            yield here, key
            if isinstance(here[key], (dict, list)):
                waiting.append(here[key])


def as_json(tree: Tree) -> bytes:
    """Return ``tree`` as JSON; half characters are escaped, as JSON can."""
    return json.dumps(tree).encode()


def hostile(tree: Tree, write: Callable[[Tree], bytes] = as_json) -> st.SearchStrategy[bytes]:
    """Return files made of ``tree``: a mutated one, a damaged one, or both."""
    text = write(tree)
    return st.one_of(
        nudged(tree).map(write),
        mutated(tree).map(write),
        damaged(text),
        mutated(tree).map(write).flatmap(lambda content: damaged(content, 2)),
        st.binary(max_size=200),
    )
