"""Maps keys of a config to lines and keys of the file that the user wrote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

KeyPath = tuple[str | int, ...]
"""The path to a key or element: ``("data", "tone", "labels", 2)``."""


def dotted(path: KeyPath) -> str:
    """Return ``data.tone.labels[2]`` for ``("data", "tone", "labels", 2)``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


class Positions(Protocol):
    """Lines of the keys of one file."""

    def line(self, path: KeyPath) -> int | None:
        """Return the line of ``path``, or of its nearest ancestor that is written down."""


def identity(path: KeyPath) -> KeyPath:
    """Return ``path``; for files whose keys are not translated."""
    return path


@dataclass(frozen=True)
class SourceMap:
    """Lines and keys in the file for the keys of a document."""

    positions: Positions
    origin: Callable[[KeyPath], KeyPath] = identity
    """Function from a key of the document to the key of the file that it comes from."""

    def line(self, path: KeyPath) -> int | None:
        """Return the line of ``path``, or of its nearest ancestor that is written down."""
        return self.positions.line(self.origin(path))

    def key(self, path: KeyPath) -> str:
        """Return the key of the file for ``path``: ``passes.lora.config.lora_r``."""
        return dotted(self.origin(path))
