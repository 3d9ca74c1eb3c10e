"""Checks before any work that the disk has enough space."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from targets.errors import EnvironmentUnable
from targets.figures import size
from targets.version import invocation

CACHE_REMEDY = (
    f"`{invocation('clean')}` removes results that were not used lately; "
    "--cache names another folder"
)


@dataclass(frozen=True)
class Need:
    """Disk space that is needed below a folder, which need not exist yet."""

    folder: Path
    bytes: int
    what: str
    """Purpose, in words: ``results``."""
    remedy: str = "free some space"


def require_room(needs: Iterable[Need]) -> None:
    """Raise ``EnvironmentUnable`` if a file system has less free space than all its needs."""
    together: dict[int, list[Need]] = defaultdict(list)
    for need in needs:
        if need.bytes > 0:
            together[device_of(need.folder)].append(need)
    for group in together.values():
        needed = sum(need.bytes for need in group)
        free = free_at(group[0].folder)
        if needed > free:
            parts = ", ".join(f"{need.what} {size(need.bytes)}" for need in group)
            raise EnvironmentUnable(
                f"too little room at {group[0].folder}: about {size(needed)} are needed ({parts}), "
                f"{size(free)} are free",
                "; ".join(dict.fromkeys(need.remedy for need in group)),
            )


def free_at(folder: Path) -> int:
    """Return the free space below ``folder``, which need not exist yet, in bytes."""
    return shutil.disk_usage(_existing(folder)).free


def device_of(folder: Path) -> int:
    """Return the ID of the file system of ``folder``, which need not exist yet."""
    return _existing(folder).stat().st_dev


def may_write(folder: Path) -> bool:
    """Return whether something can be written below ``folder``, which need not exist yet."""
    return os.access(_existing(folder), os.W_OK)


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
