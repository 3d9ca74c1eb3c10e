"""What becomes of every key of an Olive file: the promise that none is dropped without a line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from targets.config.olive.secrets import masked
from targets.config.places import Loc, dotted

_SHOWN = 60


class State(Enum):
    """The four things that can become of a key."""

    HONOURED = "honoured"
    TRANSLATED = "translated"
    NO_EFFECT = "without effect here"
    REFUSED = "refused"


_WEIGHT = {State.NO_EFFECT: 0, State.HONOURED: 1, State.TRANSLATED: 1, State.REFUSED: 2}


@dataclass(frozen=True)
class Entry:
    """One key of the file and what becomes of it."""

    path: Loc
    value: str
    """The value as JSON, shortened; secrets are masked."""
    state: State
    note: str
    """What it was translated to, or the reason."""
    suggestion: str = ""

    @property
    def key(self) -> str:
        """Return the key as the user would point at it: ``passes.lora.config.r``."""
        return dotted(self.path)


@dataclass(frozen=True)
class Refusal:
    """Why the file cannot be built as it says, at the key that is to be changed."""

    path: Loc
    reason: str
    suggestion: str


class Ledger:
    """Collects one entry per leaf of the file."""

    def __init__(self) -> None:
        self._entries: dict[Loc, Entry] = {}
        self._defaults: dict[str, str] = {}
        self._known: dict[Loc, set[str]] = {}
        self._refusals: dict[Refusal, None] = {}

    def enter(self, path: Loc, raw: Any, state: State, note: str, suggestion: str = "") -> None:
        """Note what becomes of the value ``raw`` at ``path``, with all that it holds.

        A leaf that was refused stays refused, and one that means something in one flow does so
        although another flow has no use for it.
        """
        if state is State.REFUSED:
            self._refusals[Refusal(path, note, suggestion)] = None
        for leaf, value in leaves(raw, path):
            old = self._entries.get(leaf)
            if old is None or _WEIGHT[state] >= _WEIGHT[old.state]:
                shown = _shown(leaf, value)
                self._entries[leaf] = Entry(leaf, shown, state, note, suggestion)

    def fail(self, path: Loc, reason: str, suggestion: str = "") -> None:
        """Note why the file cannot be built, where that is no fault of a key that is there."""
        self._refusals[Refusal(path, reason, suggestion)] = None

    def default(self, key: str, value: str) -> None:
        """Note that a key of the Quern config holds Olive's default: the file says nothing."""
        self._defaults.setdefault(key, value)

    def known(self, path: Loc, names: tuple[str, ...]) -> None:
        """Note names that the table at ``path`` may have, for suggestions."""
        self._known.setdefault(path, set()).update(names)

    def has(self, path: Loc) -> bool:
        """Return whether the leaf at ``path`` has its entry."""
        return path in self._entries

    def state(self, path: Loc) -> State | None:
        """Return what became of the leaf at ``path``; ``None`` before anybody said."""
        entry = self._entries.get(path)
        return entry.state if entry is not None else None

    def known_at(self, path: Loc) -> set[str]:
        """Return the names that the table at ``path`` may have."""
        return self._known.get(path, set())

    def order(self, raw: Any) -> None:
        """Put the entries in the order in which the keys of ``raw``, the whole file, stand."""
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


def leaves(raw: Any, path: Loc) -> Iterator[tuple[Loc, Any]]:
    """Yield path and value of everything at and below ``path`` that holds nothing further.

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


def _shown(path: Loc, value: Any) -> str:
    import json

    text = json.dumps(masked(path, value), ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
