"""Lines of the keys of a TOML file, for messages."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import tomli

from targets.config.source_map import KeyPath

if TYPE_CHECKING:
    from tree_sitter import Node

_KEYS = ("bare_key", "quoted_key", "dotted_key")


class TomlPositions:
    """Lines (1-based) of all keys and array elements of a TOML document.

    The document is parsed on first use, so not at all if a config has no mistakes.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def line(self, path: KeyPath) -> int | None:
        """Return the line of ``path``, or of its nearest ancestor that is written down."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._lines:
                return self._lines[path[:length]]
        return None

    @cached_property
    def _lines(self) -> dict[KeyPath, int]:
        import tree_sitter_toml
        from tree_sitter import Language, Parser

        lines = _Lines()
        parser = Parser(Language(tree_sitter_toml.language()))
        for child in parser.parse(self._text.encode()).root_node.children:
            if child.type == "pair":
                lines.pair(child, ())
            elif child.type in ("table", "table_array_element"):
                lines.table(child)
        return lines.found


class _Lines:
    """Walks a syntax tree and records the line of each key."""

    def __init__(self) -> None:
        self.found: dict[KeyPath, int] = {}
        self._counts: dict[KeyPath, int] = {}

    def table(self, node: Node) -> None:
        """Record a table header and the keys below it."""
        header = _key(node)
        if header is None:
            return
        path: KeyPath = tuple(_names(header))
        if node.type == "table_array_element":
            index = self._counts.get(path, 0)
            self._counts[path] = index + 1
            self._note(path, header)
            path = (*path, index)
        self._note(path, header)
        for child in node.children:
            if child.type == "pair":
                self.pair(child, path)

    def pair(self, node: Node, parent: KeyPath) -> None:
        """Record a key and the keys in its value."""
        key = _key(node)
        if key is None:
            return
        path = (*parent, *_names(key))
        self._note(path, key)
        self._value(node.children[-1], path)

    def _value(self, node: Node, path: KeyPath) -> None:
        if node.type == "inline_table":
            for child in node.children:
                if child.type == "pair":
                    self.pair(child, path)
        elif node.type == "array":
            elements = [child for child in node.named_children if child.type != "comment"]
            for index, element in enumerate(elements):
                self._note((*path, index), element)
                self._value(element, (*path, index))

    def _note(self, path: KeyPath, node: Node) -> None:
        for length in range(1, len(path) + 1):
            self.found.setdefault(path[:length], node.start_point[0] + 1)


def _key(node: Node) -> Node | None:
    """Return the key of a table or pair; ``None`` where this parser does not see one: it is older
    than TOML 1.1."""
    return next((child for child in node.children if child.type in _KEYS), None)


def _names(key: Node) -> Iterator[str]:
    if key.type == "dotted_key":
        for child in key.named_children:
            yield from _names(child)
        return
    text = (key.text or b"").decode()
    try:
        yield next(iter(tomli.loads(f"{text} = 0"))) if key.type == "quoted_key" else text
    except tomli.TOMLDecodeError:
        yield text
