"""A value of an Olive file with its path; its reader records how it is treated."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.contract.suggest import did_you_mean
from targets.config.olive.ledger import Ledger, State
from targets.config.olive.secrets import masked
from targets.config.source_map import KeyPath, dotted

_NULL = "null: as if it were not there"
_PLACEHOLDER = re.compile(r"^\s*(<[^<>|/]+>)\s*$")
_VARIABLE = re.compile(r"^\s*(\$?\{{1,2}\s*\w+\s*\}{1,2})\s*$")
"""``{NAME}``, ``{{NAME}}``, ``${NAME}``: holes, except in templates, whose columns look so."""
_TRUE, _FALSE = ("true", "1"), ("false", "0")


@dataclass(frozen=True)
class Node:
    """One value, its path, and the ledger in which it is recorded."""

    raw: Any
    path: KeyPath
    ledger: Ledger
    within: tuple[Any, ...] | None = None
    """The list of plain values that this is an element of: it has one entry as a whole."""

    def fields(self, what: str = "it") -> Fields:
        """Return the keys of this table; a value that is no table is refused."""
        if not isinstance(self.raw, dict):
            if self.raw is not None:
                self.refuse(f"{what} must be an object, not {_kind(self.raw)}")
            return Fields({}, self)
        return Fields(
            {key: Node(value, (*self.path, key), self.ledger) for key, value in self.raw.items()},
            self,
        )

    def items(self) -> list[Node]:
        """Return the elements of this list; any other value is its only element."""
        if not isinstance(self.raw, list):
            return [] if self.raw is None else [self]
        if any(isinstance(item, (dict, list)) for item in self.raw):
            return [Node(item, (*self.path, at), self.ledger) for at, item in enumerate(self.raw)]
        return [Node(item, self.path, self.ledger, tuple(self.raw)) for item in self.raw]

    def flag(self) -> bool | None:
        """Return true or false, also of ``"true"`` and 1; anything else is refused."""
        text = str(self.raw).strip().lower()
        if text in (*_TRUE, *_FALSE):
            return text in _TRUE
        self._refuse_type("true or false")
        return None

    def number(self) -> int | float | None:
        """Return a number, also of text that is one; anything else is refused."""
        if isinstance(self.raw, (int, float)) and not isinstance(self.raw, bool):
            return self.raw
        if isinstance(self.raw, str):
            for kind in (int, float):
                try:
                    return kind(self.raw)
                except ValueError:
                    continue
        self._refuse_type("a number")
        return None

    def word(self) -> str | None:
        """Return text; anything but text and numbers is refused, and so is a placeholder."""
        if self.refuse_placeholder():
            return None
        if isinstance(self.raw, (str, int, float)) and not isinstance(self.raw, bool):
            return str(self.raw)
        self._refuse_type("text")
        return None

    def _refuse_type(self, expected: str) -> None:
        if not self.refuse_placeholder():
            self.refuse(f"must be {expected}, not {json.dumps(masked(self.path, self.raw))}")

    @property
    def name(self) -> str:
        """Return the last part of the path: the key itself."""
        return str(self.path[-1]) if self.path else ""

    def honoured(self) -> None:
        """Record that the key means the same in Quern."""
        self._enter(State.HONOURED, "")

    def translated(self, to: str) -> None:
        """Record the translation of the key."""
        self._enter(State.TRANSLATED, to)

    def no_effect(self, reason: str) -> None:
        """Record why the key has no effect in Quern."""
        self._enter(State.NO_EFFECT, reason)

    def refuse(self, reason: str, suggestion: str = "") -> None:
        """Record why the file cannot be built with this value."""
        self._enter(State.REFUSED, reason, suggestion)

    def fail(self, reason: str, suggestion: str = "") -> None:
        """Record that something is missing here, without blaming an existing key."""
        self.ledger.fail(self.path, reason, suggestion)

    def _enter(self, state: State, note: str, suggestion: str = "") -> None:
        value = self.raw if self.within is None else list(self.within)
        self.ledger.enter(self.path, value, state, note, suggestion)

    @property
    def placeholder(self) -> str | None:
        """Return the ``<...>`` that was left unfilled, if this is one."""
        if not isinstance(self.raw, str):
            return None
        match = _PLACEHOLDER.match(self.raw)
        if match is None and not self.name.endswith("template"):
            match = _VARIABLE.match(self.raw)
        return match[1] if match else None

    def refuse_placeholder(self) -> bool:
        """Refuse the value if it is a placeholder; return whether it is one."""
        placeholder = self.placeholder
        if placeholder is not None:
            self.refuse(
                f"the placeholder {placeholder} was left unfilled", "write what it stands for"
            )
        return placeholder is not None


class Fields:
    """The keys of a table, which are taken one by one; keys that remain are refused."""

    def __init__(self, nodes: dict[str, Node], owner: Node) -> None:
        self._left = nodes
        self.owner = owner

    def take(self, *names: str) -> Node | None:
        """Return the value under the first of ``names`` that exists; they are synonyms.

        A second one with another value is refused. ``null`` counts as missing.
        """
        self.owner.ledger.known(self.owner.path, names)
        taken: Node | None = None
        for name in names:
            node = self._left.pop(name, None)
            if node is None:
                continue
            if node.raw is None:
                node.no_effect(_NULL)
            elif taken is None:
                taken = node
            else:
                _second(node, taken)
        return taken

    def peek(self, name: str) -> Node | None:
        """Return the value under ``name`` without taking it."""
        return self._left.get(name)

    def merge(self, other: Fields) -> None:
        """Add the keys of a nested table (``config``, ``params``) that belong to this level."""
        for name, node in other._left.items():
            old = self._left.get(name)
            if old is None:
                self._left[name] = node
            else:
                _second(node, old)
            self.owner.ledger.known(node.path[:-1], (name,))
        other._left = {}

    def ignore(self, reasons: Mapping[str, str]) -> None:
        """Take each of these keys that exists, and record why it has no effect."""
        for name, reason in reasons.items():
            node = self.take(name)
            if node is not None:
                node.no_effect(reason)

    def rest(self) -> Iterator[Node]:
        """Take and yield all remaining keys."""
        left, self._left = self._left, {}
        for node in left.values():
            if node.raw is None:
                node.no_effect(_NULL)
            else:
                yield node

    def refuse_rest(self, what: str) -> None:
        """Refuse every remaining key, because ``what`` has no such key."""
        known = self.owner.ledger.known_at(self.owner.path)
        for node in self.rest():
            if _PLACEHOLDER.match(node.name):
                node.refuse(
                    f"the placeholder {node.name} was left unfilled", "name the key it means"
                )
            else:
                node.refuse(f"{what} has no such key", did_you_mean(node.name, known))

    def __bool__(self) -> bool:
        return bool(self._left)


def _second(node: Node, first: Node) -> None:
    """Say what becomes of a key whose meaning ``first`` has given already."""
    if node.raw == first.raw or str(node.raw).lower() == str(first.raw).lower():
        node.no_effect(f"the same as {dotted(first.path)}")
    else:
        shown = json.dumps(masked(first.path, first.raw))
        node.refuse(f"{dotted(first.path)} says {shown}", "remove one of the two")


def _kind(raw: Any) -> str:
    kinds = {list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(type(raw), "null")
