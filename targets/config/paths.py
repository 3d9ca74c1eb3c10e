"""Paths that a config names: relative to its file, `~` for a home, and whatever else one writes."""

from __future__ import annotations

import os
from pathlib import Path


def resolved(file: Path, path: str) -> Path:
    """Return a path of the config ``file``: relative to its folder, with ``~`` for the home."""
    return (file.parent / expanded(path)).absolute()


def expanded(path: str) -> Path:
    """Return ``path`` with ``~`` for the home; that of a user who does not exist stays as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises for that user


def is_file(path: Path) -> bool:
    """Return whether ``path`` is a regular file; not if that cannot be seen, or if nothing can have
    such a name."""
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises for long names


def is_folder(path: Path) -> bool:
    """Return whether ``path`` is a folder that can be seen."""
    return os.path.isdir(path)  # noqa: PTH112 - as above


def is_there(path: Path) -> bool:
    """Return whether ``path`` is a regular file or a folder that can be seen."""
    return is_file(path) or is_folder(path)
