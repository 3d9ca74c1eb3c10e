"""Reads YAML like Olive, restricted to JSON values: no dates, no sets, only text as keys."""

from __future__ import annotations

from typing import Any

import yaml

_MOST = 100_000
"""Values of a file at most: a few lines of aliases can stand for any number."""


class UnlikeJsonError(Exception):
    """A value or key that JSON does not have."""

    def __init__(self, problem: str, mark: Any) -> None:
        super().__init__(problem)
        self.problem = problem
        self.problem_mark = mark


class JsonLoader(yaml.SafeLoader):
    """Builds nothing but tables, lists, text, finite numbers, true, false and null.

    Raises :class:`UnlikeJsonError` for anything else, for a key that stands twice, and for a file
    whose aliases stand for too much, or for themselves.
    """

    def get_single_data(self) -> Any:
        """Return the file's value."""
        node = self.get_single_node()
        if node is None:
            return None
        self._left = _MOST
        return self._value(node, ())

    def _value(self, node: yaml.Node, above: tuple[int, ...]) -> Any:
        self._left -= 1
        if self._left < 0 or id(node) in above:
            raise UnlikeJsonError("its aliases stand for too much", node.start_mark)
        inside = (*above, id(node))
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._table(node, inside)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self._value(item, inside) for item in node.value]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        raise UnlikeJsonError(f"{node.tag} has no like in JSON", node.start_mark)

    def _table(self, node: yaml.MappingNode, inside: tuple[int, ...]) -> dict[str, Any]:
        """Return the table; what it merges (``<<``) counts as if it were written here."""
        table: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                several = value.value if isinstance(value, yaml.SequenceNode) else [value]
                for one in several:
                    merged = {**self._merged(one, inside), **merged}
                continue
            name = key.value
            if not isinstance(key, yaml.ScalarNode) or not isinstance(name, str):
                raise UnlikeJsonError("a key must be text", key.start_mark)
            if name in table:
                raise UnlikeJsonError(f"the key '{name}' stands twice", key.start_mark)
            table[name] = self._value(value, inside)
        return {**merged, **table}

    def _merged(self, node: yaml.Node, inside: tuple[int, ...]) -> dict[str, Any]:
        value = self._value(node, inside)
        if not isinstance(value, dict):
            raise UnlikeJsonError("only a table can be merged", node.start_mark)
        return value

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        kind = node.tag.rpartition(":")[2]
        if kind in ("str", "timestamp"):
            return node.value
        if kind not in ("bool", "int", "float", "null"):
            raise UnlikeJsonError(f"{node.tag} has no like in JSON", node.start_mark)
        try:
            value = self.construct_object(node)
        except (ValueError, KeyError, IndexError, OverflowError):
            # A tag that its text does not fit, or a number of thousands of digits.
            raise UnlikeJsonError(f"not a value of the kind {kind}", node.start_mark) from None
        if isinstance(value, float) and value - value != 0:
            raise UnlikeJsonError(f"{node.value} is not a JSON number", node.start_mark)
        return value
