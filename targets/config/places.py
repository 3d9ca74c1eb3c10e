"""Where a key of a config stands in the file that the user wrote, and how it is called there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

Loc = tuple[str | int, ...]
"""The way to a key or element: ``("data", "tone", "labels", 2)``."""


def dotted(path: Loc) -> str:
    """Return ``data.tone.labels[2]`` for ``("data", "tone", "labels", 2)``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


class Positions(Protocol):
    """Lines of the keys of one file."""

    def line(self, path: Loc) -> int | None:
        """Return the line of ``path``, or of its nearest ancestor that is written down."""


def as_it_is(path: Loc) -> Loc:
    """Return ``path``: the key of a file that needs no translation."""
    return path


@dataclass(frozen=True)
class Places:
    """Where the keys of a document stand in the file that it was read from."""

    positions: Positions
    origin: Callable[[Loc], Loc] = as_it_is
    """Which key of the file a key of the document comes from."""

    def line(self, path: Loc) -> int | None:
        """Return the line of ``path``, or of its nearest ancestor that is written down."""
        return self.positions.line(self.origin(path))

    def key(self, path: Loc) -> str:
        """Return ``path`` as the file has it: ``passes.lora.config.lora_r``."""
        return dotted(self.origin(path))
