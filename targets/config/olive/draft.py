"""The draft of the Quern config into which an Olive file is translated."""

from __future__ import annotations

import json
from typing import Any

from targets.config.olive.ledger import Ledger
from targets.config.olive.node import Node
from targets.config.olive.secrets import holds_secret, is_secret
from targets.config.source_map import KeyPath, dotted


class Draft:
    """A document as a TOML file would hold it, and where in the Olive file each key comes from."""

    def __init__(self, ledger: Ledger) -> None:
        self.document: dict[str, Any] = {}
        self.origins: dict[KeyPath, KeyPath] = {}
        self.ledger = ledger
        self.without_target = False
        """Whether the file asks for hardware alone that no target runs on."""

    def set(self, path: KeyPath, value: Any, source: Node | None, note: str = "") -> None:
        """Set ``value`` at ``path``. Without ``source`` it is Olive's default for a missing key.

        ``note`` is its text in the table of keys; by default the key and the value. An unfilled
        placeholder is refused instead.
        """
        if source is not None and source.refuse_placeholder():
            return
        if source is not None and (holds_secret(path[-1], value) or is_secret(source.name)):
            source.refuse("no config keeps secrets", "take it from the environment: HF_TOKEN")
            return
        self.derive(path, value)
        shown = f"{dotted(path)} = {json.dumps(value, ensure_ascii=False)}"
        if source is None:
            self.ledger.default(dotted(path), note or json.dumps(value, ensure_ascii=False))
            return
        self.origins.setdefault(path, source.path)
        if note or source.name != path[-1] or source.raw != value:
            source.translated(note or shown)
        else:
            source.honoured()

    def derive(self, path: KeyPath, value: Any) -> None:
        """Set ``value`` at ``path``, derived from keys that have their own entries."""
        table = self.document
        for part in path[:-1]:
            table = table.setdefault(str(part), {})
        table[str(path[-1])] = value

    def append(self, path: KeyPath, value: dict[str, Any], source: Node) -> KeyPath:
        """Append ``value`` to the list at ``path``, and return its own path."""
        table = self.document
        for part in path[:-1]:
            table = table.setdefault(str(part), {})
        entries = table.setdefault(str(path[-1]), [])
        entries.append(value)
        place = (*path, len(entries) - 1)
        self.origins[place] = source.path
        return place

    def table(self, path: KeyPath, source: Node | None) -> None:
        """Create a table at ``path``, which comes from ``source``, if there is none."""
        table = self.document
        for part in path:
            table = table.setdefault(str(part), {})
        if source is not None:
            self.origins.setdefault(path, source.path)

    def get(self, path: KeyPath) -> Any:
        """Return the value at ``path``, or ``None``."""
        value: Any = self.document
        for part in path:
            if not isinstance(value, dict):
                return None
            value = value.get(part)
        return value

    def origin(self, path: KeyPath) -> KeyPath:
        """Return the key of the Olive file from which the key at ``path``, or its table, comes."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]]
        return ()
