"""JSON as people write configs in it: with comments and trailing commas.

Both are replaced by blanks before the text is parsed, so that every position stays where it is in
the file. (``//``, ``/* */`` and ``#`` at the beginning of a line are comments, as in JSON5, VS Code
and Olive's own templates.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

_STRING = r'"(?:[^"\\\n]|\\.)*"'
_COMMENTS = re.compile(rf"({_STRING})|//[^\n]*|/\*.*?\*/|^[ \t]*\#[^\n]*", re.DOTALL | re.MULTILINE)
_COMMAS = re.compile(rf"({_STRING})|,(?=\s*[}}\]])")
# Two passes: one expression for both would try comments after each comma in every way.


class JsonError(ValueError):
    """The text is not JSON; ``line`` and ``column`` count from 1."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


def plain(text: str) -> str:
    """Return ``text`` with comments and trailing commas blanked out; nothing else moves."""
    return _COMMAS.sub(_blank, _COMMENTS.sub(_blank, text))


def _blank(match: re.Match[str]) -> str:
    return match[0] if match[1] is not None else re.sub(r"[^\n]", " ", match[0])


def parse(text: str) -> Any:
    """Return the value of ``text``. Raises :class:`JsonError`; a key given twice is an error."""
    blanked = plain(text)
    try:
        return json.loads(blanked, object_pairs_hook=_unique, parse_constant=_constant)
    except json.JSONDecodeError as error:
        raise JsonError(error.msg, error.lineno, error.colno) from None
    except _Twice:
        key, line, column = _duplicate(blanked)
        raise JsonError(f"the key '{key}' stands twice in one object", line, column) from None
    except _Constant as error:
        at = blanked.find(str(error))
        line, column = blanked.count("\n", 0, at) + 1, at - blanked.rfind("\n", 0, at)
        raise JsonError(f"{error} is not JSON", line, column) from None
    except RecursionError:
        raise JsonError("nested too deeply", 1, 1) from None


class _Twice(ValueError):
    pass


class _Constant(ValueError):
    pass


def _constant(name: str) -> Any:
    raise _Constant(name)


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise _Twice
    return table


def _duplicate(text: str) -> tuple[str, int, int]:
    """Return the first key that stands twice in one object, with line and column of the second."""
    import tree_sitter_json
    from tree_sitter import Language, Parser

    waiting = [Parser(Language(tree_sitter_json.language())).parse(text.encode()).root_node]
    while waiting:
        node = waiting.pop(0)
        waiting[:0] = node.named_children
        seen: set[str] = set()
        for pair in node.named_children if node.type == "object" else ():
            key = pair.child_by_field_name("key")
            name = str(json.loads((key.text or b'""').decode())) if key is not None else ""
            if key is not None and name in seen:
                return name, key.start_point[0] + 1, key.start_point[1] + 1
            seen.add(name)
    return "", 1, 1
