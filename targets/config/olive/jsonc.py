"""JSON as people write configs in it: with comments and trailing commas.

Both are replaced by blanks before the text is parsed, so that every position stays where it is in
the file. (``//``, ``/* */`` and ``#`` at the beginning of a line are comments, as in JSON5, VS Code
and Olive's own templates.)
"""

from __future__ import annotations

import json
import re
from typing import Any

from pipeline.reading.json_text import DuplicateKeyError, JsonError, parse_json

_STRING = r'"(?:[^"\\\n]|\\.)*"?'
_COMMENTS = re.compile(
    rf"({_STRING})|//[^\n]*|/\*.*?(?:\*/|\Z)|^[ \t]*\#[^\n]*", re.DOTALL | re.MULTILINE
)
_COMMAS = re.compile(rf"({_STRING})|,(?=\s*[}}\]])")
# Two passes: one expression for both would try comments after each comma in every way. What is
# never closed ends with its line or the file; else each character of it would be a new beginning.


def plain(text: str) -> str:
    """Return ``text`` with comments and trailing commas blanked out; nothing else moves."""
    return _COMMAS.sub(_blank, _COMMENTS.sub(_blank, text))


def _blank(match: re.Match[str]) -> str:
    return match[0] if match[1] is not None else re.sub(r"[^\n]", " ", match[0])


def parse(text: str) -> Any:
    """Return the value of ``text``. Raises :class:`JsonError`; a key given twice is an error."""
    blanked = plain(text)
    try:
        return parse_json(blanked, strict=True)
    except DuplicateKeyError:
        key, line, column = _duplicate(blanked)
        raise JsonError(f"the key '{key}' stands twice in one object", line, column) from None


def _duplicate(text: str) -> tuple[str, int, int]:
    """Return the first key that stands twice in one object, with line and column of the second."""
    import tree_sitter_json
    from tree_sitter import Language, Parser

    waiting = [Parser(Language(tree_sitter_json.language())).parse(text.encode()).root_node]
    while waiting:
        node = waiting.pop()
        waiting += reversed(node.named_children)
        seen: set[str] = set()
        for pair in node.named_children if node.type == "object" else ():
            key = pair.child_by_field_name("key")
            name = str(json.loads((key.text or b'""').decode())) if key is not None else ""
            if key is not None and name in seen:
                return name, key.start_point[0] + 1, key.start_point[1] + 1
            seen.add(name)
    return "", 1, 1
