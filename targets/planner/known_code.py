"""Notes what modules of ``pipeline/`` say, so that those that are unchanged are not read again."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.contract.sha256 import sha256_of_bytes
from pipeline.run import code_digest
from pipeline.run.code_digest import Source, read_source
from targets.atomic import replace_file
from targets.digests import identity_of, is_settled
from targets.disk import may_write

_READER = Path(code_digest.__file__)


class KnownCode:
    """The notes of one cache on this copy of Quern."""

    def __init__(self, cache_root: Path) -> None:
        self._root = cache_root
        self._file = cache_root / "modules" / f"{sha256_of_bytes(str(_READER).encode())[:16]}.json"
        # Another reader may find something else in the same file.
        self._reader = list(identity_of(_READER.stat()))
        self._known = self._noted()
        self._news = False

    def read(self, file: Path, package: tuple[str, ...]) -> Source:
        """Return the same as ``read_source``."""
        stat = file.stat()
        identity = identity_of(stat)
        known = self._known.get(str(file))
        if known is not None and known["identity"] == list(identity):
            return Source(known["sha256"], tuple(known["imports"]))
        if not is_settled(stat):
            return read_source(file, package)
        source = _read_once(file, package, identity)
        entry = {"identity": identity, "sha256": source.sha256, "imports": source.imports}
        self._known[str(file)] = entry
        self._news = True
        return source

    def save(self) -> None:
        """Keep the notes, where there is something new."""
        if self._news and may_write(self._root):
            noted = json.dumps({"reader": self._reader, "files": self._known})
            with suppress(OSError):  # without them, the next plan reads the modules again
                self._file.parent.mkdir(parents=True, exist_ok=True)
                replace_file(self._file, noted)

    def _noted(self) -> dict[str, Any]:
        try:
            noted = json.loads(self._file.read_bytes())
            files = noted["files"] if noted["reader"] == self._reader else {}
        except (OSError, ValueError, TypeError, KeyError):
            return {}
        return files if isinstance(files, dict) else {}


@cache
def _read_once(file: Path, package: tuple[str, ...], _identity: tuple[int, ...]) -> Source:
    """Return what ``file`` says, which this process reads once however many caches it uses."""
    return read_source(file, package)
