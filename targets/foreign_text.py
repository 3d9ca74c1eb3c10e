"""Makes text harmless that others wrote: names, rows, templates, messages of processes.

A terminal acts on control characters, and CI services on lines that begin like their commands. What
is shown passes one of these functions, so that it is only read.
"""

from __future__ import annotations

import json
import re

_ACTED_UPON = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, but for tabs and line feeds
    "\u2028\u2029"  # line breaks of Unicode
    "\u202a-\u202e\u2066-\u2069"  # what turns the order of the text around it
    "\ud800-\udfff"  # halves of characters, which cannot be written
    "\U000e0000-\U000e007f"  # characters that nobody sees
    "]"
)
# https://docs.github.com/actions/reference/workflow-commands-for-github-actions
# https://learn.microsoft.com/azure/devops/pipelines/scripts/logging-commands
_COMMAND = re.compile(r"^([ \t]*):(?=:)|#(?=#(?:vso)?\[)", re.MULTILINE)

_LONGEST = 256
"""Longest beginning of a line that is kept to see what becomes of it."""


def visible(text: str) -> str:
    """Return ``text`` with an escape such as ``\\x1b`` for each character that would act."""
    if text.isprintable():  # as most is, which takes a fraction of the time of a search
        return text
    return _ACTED_UPON.sub(_escape, text)


def one_line(text: str) -> str:
    """Return ``text`` as one visible line, with ``\\n`` for a line break."""
    return visible(text.replace("\n", "\\n"))


def harmless(text: str) -> str:
    """Return ``text`` visible, and without anything that a CI service takes for a command."""
    seen = visible(text)
    if "::" not in seen and "##" not in seen:
        return seen
    return _COMMAND.sub(lambda command: f"{command[1] or ''}{_hex(command[0][-1])}", seen)


class Streamed:
    """Makes text harmless that comes in pieces, which may only be a command together."""

    def __init__(self) -> None:
        self._before = ""

    def piece(self, text: str) -> str:
        """Return the next piece, harmless after all that came before it."""
        before, whole = self._before, self._before + text
        known = {command.start() for command in _COMMAND.finditer(before)}
        starts = {command.start() for command in _COMMAND.finditer(whole)} - known
        if text and any(start < len(before) for start in starts):
            shown = _hex(text[0]) + harmless(f"-{text[1:]}")[1:]
        else:
            shown = harmless(text) if not before else harmless(f"-{text}")[1:]
        line = whole.rpartition("\n")[2]
        # Of a long line only its end can become one.
        self._before = line if len(line) < _LONGEST else f"-{line[-8:]}"
        return shown


def json_escaped(document: str) -> str:
    """Return a JSON ``document`` that means the same, with its own escapes: all that could act
    stands in its strings."""
    escaped = _ACTED_UPON.sub(lambda match: json.dumps(match[0])[1:-1], document)
    return _COMMAND.sub(lambda command: f"{command[1] or ''}\\u{ord(command[0][-1]):04x}", escaped)


def _escape(match: re.Match[str]) -> str:
    return {"\r": "\\r"}.get(match[0], _hex(match[0]))


def _hex(character: str) -> str:
    return f"\\x{ord(character):02x}" if ord(character) < 256 else json.dumps(character)[1:-1]
