"""File systems that are small, or cannot be written: mounted for real."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.capabilities import skip_or_fail


class Mounts:
    """What a test has mounted."""

    def __init__(self) -> None:
        self._places: list[Path] = []
        self._modes: dict[Path, int] = {}

    def small(self, place: Path, size: str) -> Path:
        """Mount a file system of ``size``, such as ``20m``, at ``place``."""
        return self._mount(place, "-t", "tmpfs", "-o", f"size={size}", "tmpfs")

    def read_only(self, folder: Path, place: Path) -> Path:
        """Show ``folder`` at ``place``, where nobody can write. Who may not mount anything takes
        that right from ``folder`` itself."""
        if os.geteuid():
            for path in (folder, *folder.rglob("*")):
                if not path.is_symlink():
                    self._modes[path] = path.stat().st_mode
                    path.chmod(path.stat().st_mode & ~0o222)
            return folder
        self._mount(place, "--bind", str(folder))
        subprocess.run(["mount", "-o", "remount,ro,bind", str(place)], check=True)
        return place

    def _mount(self, place: Path, *options: str) -> Path:
        place.mkdir()
        command = ["mount", *options, str(place)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            skip_or_fail("mount", "this user may not mount anything")
        self._places.append(place)
        return place

    def remove(self) -> None:
        """Unmount all of it, and give back the rights."""
        for path, mode in self._modes.items():
            path.chmod(mode)
        for place in reversed(self._places):
            subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def mounts() -> Iterator[Mounts]:
    """Yield what mounts, and unmount it afterwards."""
    made = Mounts()
    yield made
    made.remove()
