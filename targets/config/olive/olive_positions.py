"""Lines of the keys of a JSON or YAML file, for messages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from targets.config.olive.jsonc import plain
from targets.config.source_map import KeyPath

if TYPE_CHECKING:
    from tree_sitter import Node as SyntaxNode


class _Positions(ABC):
    """Lines (1-based) of all keys and elements, parsed when a line is first asked for."""

    def __init__(self, text: str) -> None:
        self._text = text

    def line(self, path: KeyPath) -> int | None:
        """Return the line of ``path``, or of its nearest ancestor that is there."""
        lines = self._lines
        ancestors = (path[:length] for length in range(len(path), 0, -1) if path[:length] in lines)
        nearest = next(ancestors, None)
        return None if nearest is None else lines[nearest]

    @cached_property
    def _lines(self) -> dict[KeyPath, int]:
        return dict(self._parsed())

    @abstractmethod
    def _parsed(self) -> Iterator[tuple[KeyPath, int]]:
        """Yield each key and element with its line."""


class JsonPositions(_Positions):
    """Lines of JSON with comments and trailing commas."""

    def _parsed(self) -> Iterator[tuple[KeyPath, int]]:
        import tree_sitter_json
        from tree_sitter import Language, Parser

        parser = Parser(Language(tree_sitter_json.language()))
        root = parser.parse(plain(self._text).encode()).root_node
        return _json_lines(root.named_children[0], ()) if root.named_children else iter(())


class YamlPositions(_Positions):
    """Lines of YAML."""

    def _parsed(self) -> Iterator[tuple[KeyPath, int]]:
        import yaml

        return _yaml_lines(yaml.compose(self._text, Loader=yaml.SafeLoader), ())


def _json_lines(node: SyntaxNode, path: KeyPath) -> Iterator[tuple[KeyPath, int]]:
    import json

    if node.type == "object":
        for pair in node.named_children:
            key, value = pair.child_by_field_name("key"), pair.child_by_field_name("value")
            if key is None or value is None:
                continue
            inner = (*path, str(json.loads((key.text or b"").decode())))
            yield inner, key.start_point[0] + 1
            yield from _json_lines(value, inner)
    elif node.type == "array":
        for index, element in enumerate(node.named_children):
            yield (*path, index), element.start_point[0] + 1
            yield from _json_lines(element, (*path, index))


def _yaml_lines(node: Any, path: KeyPath) -> Iterator[tuple[KeyPath, int]]:
    import yaml

    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, key.value)
            yield inner, key.start_mark.line + 1
            yield from _yaml_lines(value, inner)
    elif isinstance(node, yaml.SequenceNode):
        for index, element in enumerate(node.value):
            yield (*path, index), element.start_mark.line + 1
            yield from _yaml_lines(element, (*path, index))
