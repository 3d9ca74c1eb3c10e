"""Records how every key of an Olive file is translated, so that none is silently dropped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from targets.config.olive.secrets import masked
from targets.config.source_map import KeyPath, dotted

_SHOWN = 60


class State(Enum):
    """The four ways in which a key can be treated."""

    HONOURED = "honoured"
    TRANSLATED = "translated"
    NO_EFFECT = "without effect here"
    REFUSED = "refused"


_WEIGHT = {State.NO_EFFECT: 0, State.HONOURED: 1, State.TRANSLATED: 1, State.REFUSED: 2}


@dataclass(frozen=True)
class Entry:
    """One key of the file, and how it is treated."""

    path: KeyPath
    value: str
    """The value as JSON, shortened; secrets are masked."""
    state: State
    note: str
    """Its translation, or the reason why there is none."""
    suggestion: str = ""

    @property
    def key(self) -> str:
        """Return the key as the user would point at it: ``passes.lora.config.r``."""
        return dotted(self.path)


@dataclass(frozen=True)
class Refusal:
    """A reason why the file cannot be built, at the key that has to be changed."""

    path: KeyPath
    reason: str
    suggestion: str


class Ledger:
    """Collects one entry per leaf of the file."""

    def __init__(self) -> None:
        self._entries: dict[KeyPath, Entry] = {}
        self._defaults: dict[str, str] = {}
        self._known: dict[KeyPath, set[str]] = {}
        self._refusals: dict[Refusal, None] = {}

    def enter(self, path: KeyPath, raw: Any, state: State, note: str, suggestion: str = "") -> None:
        """Record how the value ``raw`` at ``path`` is treated, with everything in it.

        A leaf that was refused stays refused, and one that is used in one flow counts as used even
        if another flow ignores it.
        """
        if state is State.REFUSED:
            self._refusals[Refusal(path, note, suggestion)] = None
        for leaf, value in leaves(raw, path):
            old = self._entries.get(leaf)
            if old is None or _WEIGHT[state] >= _WEIGHT[old.state]:
                shown = _shown(leaf, value)
                self._entries[leaf] = Entry(leaf, shown, state, note, suggestion)

    def fail(self, path: KeyPath, reason: str, suggestion: str = "") -> None:
        """Record why the file cannot be built, if no existing key is the cause."""
        self._refusals[Refusal(path, reason, suggestion)] = None

    def default(self, key: str, value: str) -> None:
        """Record that a key of the Quern config has Olive's default, because the file lacks it."""
        self._defaults.setdefault(key, value)

    def known(self, path: KeyPath, names: tuple[str, ...]) -> None:
        """Record names that the table at ``path`` may have, for suggestions."""
        self._known.setdefault(path, set()).update(names)

    def has(self, path: KeyPath) -> bool:
        """Return whether the leaf at ``path`` has an entry."""
        return path in self._entries

    def state(self, path: KeyPath) -> State | None:
        """Return the state of the leaf at ``path``; ``None`` if it has none yet."""
        entry = self._entries.get(path)
        return entry.state if entry is not None else None

    def known_at(self, path: KeyPath) -> set[str]:
        """Return the names that the table at ``path`` may have."""
        return self._known.get(path, set())

    def order(self, raw: Any) -> None:
        """Sort the entries in the order of the keys of ``raw``, the whole file."""
        places = {path: at for at, (path, _) in enumerate(leaves(raw, ()))}
        ranked = sorted(self._entries.items(), key=lambda item: places.get(item[0], len(places)))
        self._entries = dict(ranked)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Return all entries."""
        return tuple(self._entries.values())

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """Return every reason why the file cannot be built, once each."""
        return tuple(self._refusals)

    @property
    def defaults(self) -> dict[str, str]:
        """Return Olive's defaults that are in use: key of the Quern config to value as JSON."""
        return dict(self._defaults)


def leaves(raw: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    """Yield path and value of every leaf at and below ``path``.

    A list of plain values is one leaf; an empty table or list is one too.
    """
    if isinstance(raw, dict) and raw:
        for key, value in raw.items():
            yield from leaves(value, (*path, key))
    elif isinstance(raw, list) and any(isinstance(item, (dict, list)) for item in raw):
        for index, item in enumerate(raw):
            yield from leaves(item, (*path, index))
    else:
        yield path, raw


def _shown(path: KeyPath, value: Any) -> str:
    import json

    text = json.dumps(masked(path, value), ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
