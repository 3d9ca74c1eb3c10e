"""Where each key of a TOML file stands, so that every message can name its line."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import tree_sitter_toml
from tree_sitter import Language, Node, Parser

Path = tuple[str | int, ...]

_KEYS = ("bare_key", "quoted_key", "dotted_key")


class TomlPositions:
    """Lines (1-based) of all keys and array elements of a TOML document."""

    def __init__(self, text: str) -> None:
        parser = Parser(Language(tree_sitter_toml.language()))
        self._lines: dict[Path, int] = {}
        counts: dict[Path, int] = {}
        for child in parser.parse(text.encode()).root_node.children:
            if child.type == "pair":
                self._pair(child, ())
            elif child.type in ("table", "table_array_element"):
                self._table(child, counts)

    def line(self, path: Path) -> int | None:
        """Return the line of ``path``, or of its nearest ancestor that is written down."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._lines:
                return self._lines[path[:length]]
        return None

    def _table(self, node: Node, counts: dict[Path, int]) -> None:
        header = next(child for child in node.children if child.type in _KEYS)
        path: Path = tuple(_names(header))
        if node.type == "table_array_element":
            index = counts.get(path, 0)
            counts[path] = index + 1
            self._note(path, header)
            path = (*path, index)
        self._note(path, header)
        for child in node.children:
            if child.type == "pair":
                self._pair(child, path)

    def _pair(self, node: Node, parent: Path) -> None:
        key = next(child for child in node.children if child.type in _KEYS)
        path = (*parent, *_names(key))
        self._note(path, key)
        self._value(node.children[-1], path)

    def _value(self, node: Node, path: Path) -> None:
        if node.type == "inline_table":
            for child in node.children:
                if child.type == "pair":
                    self._pair(child, path)
        elif node.type == "array":
            elements = [child for child in node.named_children if child.type != "comment"]
            for index, element in enumerate(elements):
                self._note((*path, index), element)
                self._value(element, (*path, index))

    def _note(self, path: Path, node: Node) -> None:
        for length in range(1, len(path) + 1):
            self._lines.setdefault(path[:length], node.start_point[0] + 1)


def _names(key: Node) -> Iterator[str]:
    if key.type == "dotted_key":
        for child in key.named_children:
            yield from _names(child)
        return
    text = (key.text or b"").decode()
    # A quoted TOML key escapes as a Python literal does, for all that a key reasonably holds.
    yield str(ast.literal_eval(text)) if key.type == "quoted_key" else text
