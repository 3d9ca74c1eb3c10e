"""Remembers which pages were rendered from what, so that unchanged ones are not rendered again."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from pipeline.contract.sha256 import sha256_of_bytes, sha256_of_file
from targets.atomic import replace_file
from targets.digests import Digests, identity_of
from targets.disk import may_write

_QUERN = Path(__file__).parents[1]
_FOLDERS = ("targets", "pipeline", "images")
"""Everything of Quern that can have a say in a page."""
_LIBRARIES = ("jinja2", "markupsafe")
_COMPILED = "__pycache__"
_BEGUN_NS = time.time_ns()
_SETTLED_NS = 5_000_000_000
"""Code that was changed later than so long before this process began may be another one than that
which runs in it."""


class KnownPages:
    """The notes of one cache: by what a page shows, and by the code that renders it."""

    def __init__(self, folder: Path | None = None, digests: Digests | None = None) -> None:
        """``folder`` is where notes are kept; ``None``: nowhere."""
        self._folder = folder
        self._digests = digests

    def write(
        self, place: Path, shown: Sequence[str], render: Callable[[], Mapping[str, str]]
    ) -> None:
        """Write the pages that ``render`` returns, texts by name, into the folder ``place``; unless
        they are there as they were rendered from ``shown``, which is all that they depend on."""
        note = self._note(shown)
        if note is not None and self._are_there(place, note):
            return
        pages = render()
        for name, text in pages.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            replace_file(place / name, text)
        if note is not None and may_write(note.parent.parent):
            with suppress(OSError):  # without it, the next command renders them again
                noted = {name: sha256_of_file(place / name) for name in pages}
                note.parent.mkdir(parents=True, exist_ok=True)
                replace_file(note, json.dumps(noted))

    def _note(self, shown: Sequence[str]) -> Path | None:
        """Return the file of a note; ``None`` where none can be kept."""
        if self._folder is None or self._digests is None or self._code is None:
            return None
        return self._folder / f"{sha256_of_bytes(json.dumps([self._code, *shown]).encode())}.json"

    @cached_property
    def _code(self) -> str | None:
        """Return what changes with any file of Quern and any library that renders; ``None`` where
        one was changed just now, or cannot be looked at."""
        try:
            stats = {str(path): path.stat() for path in _files()}
        except OSError:  # an editor's own file, which is gone again, or a link that leads nowhere
            return None
        if max(stat.st_ctime_ns for stat in stats.values()) > _BEGUN_NS - _SETTLED_NS:
            return None
        identities = sorted((path, identity_of(stat)) for path, stat in stats.items())
        return sha256_of_bytes(json.dumps([sys.version, identities]).encode())

    def _are_there(self, place: Path, note: Path) -> bool:
        assert self._digests is not None  # noqa: S101
        try:
            noted = json.loads(note.read_bytes())
            files = [place / name for name in noted]
            return bool(noted) and self._digests.files(files) == list(noted.values())
        except (OSError, ValueError, TypeError, AttributeError):
            return False


def _files() -> Iterator[Path]:
    for folder in _FOLDERS:
        for place, folders, names in os.walk(_QUERN / folder):
            folders[:] = [name for name in folders if name != _COMPILED]
            yield from (Path(place, name) for name in names)
    for library in _LIBRARIES:
        spec = find_spec(library)
        if spec is not None and spec.origin is not None:
            yield Path(spec.origin)
