"""What can be attacked: hostile inputs, how Quern meets them, and how it may end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.attack.inside import Ended

Files = Mapping[str, bytes]
"""Files by their paths in a folder."""

ACCEPTED, WRONG_INPUT, DAMAGED, UNABLE = 0, 2, 3, 4
"""Exit codes, as docs/reference.md has them."""


@dataclass(frozen=True)
class Surface:
    """One kind of input."""

    name: str
    inputs: st.SearchStrategy[Any]
    meet: Callable[[Any, Path], Ended]
    """Has Quern read an input; the folder is empty."""
    codes: frozenset[int] = frozenset({ACCEPTED, WRONG_INPUT})
    """With which it may end."""
    count: int = 100
    """Inputs of the part that every test run has."""


def write_files(folder: Path, files: Files) -> None:
    """Write ``files`` below ``folder``."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
