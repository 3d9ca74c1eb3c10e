"""Opens a bundle and checks it against its manifest. Writes nothing."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from pipeline.contract.sha256 import sha256_of_chunks
from pipeline.reading.archives import BROKEN, open_archive
from pipeline.reading.files import decoded
from pipeline.reading.json_text import parse_json
from targets.errors import CheckFailed, ConfigError, Problem
from targets.transfer.bundle import IMAGES, MANIFEST, SCHEMA_VERSION, Manifest, Member

_CHUNK = 1 << 20
_LARGEST_MANIFEST = 16 << 20
"""Limit in bytes; a real manifest has some ten thousand."""


@dataclass(frozen=True)
class Bundle:
    """An open bundle whose members match its manifest in name, type and size."""

    path: Path
    manifest: Manifest
    archive: tarfile.TarFile

    def open(self, name: str) -> IO[bytes]:
        """Return the member ``name`` as a file."""
        file = self.archive.extractfile(name)
        assert file is not None  # noqa: S101 - every member is a file
        return file

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the content of the member ``name`` piece by piece."""
        with self.open(name) as file:
            while chunk := file.read(_CHUNK):
                yield chunk


@contextmanager
def open_bundle(path: Path) -> Iterator[Bundle]:
    """Yield the bundle at ``path``.

    Raises ``CheckFailed`` that names the member if one is missing, unexpected, truncated or not a
    plain file, and ``ConfigError`` if a newer Quern made the bundle.
    """
    with ExitStack() as opened:
        try:
            archive = opened.enter_context(open_archive(path))
            entries = _entries(path, archive)
            manifest = _manifest(path, archive, entries)
        except BROKEN as error:
            raise damaged(path, f"is not a bundle: {error}") from None
        _require_listed(path, manifest, entries)
        yield Bundle(path, manifest, archive)


def require_whole(bundle: Bundle) -> None:
    """Read every member. Raises ``CheckFailed`` that names a member with a wrong digest."""
    for member in bundle.manifest.members:
        try:
            digest = sha256_of_chunks(bundle.chunks(member.name))
        except BROKEN as error:
            raise damaged(bundle.path, f"{member.name}: {error}") from None
        if digest != member.sha256:
            raise damaged(
                bundle.path, f"{member.name} has the SHA-256 {digest}, not the one of"
                f" the manifest, {member.sha256}"
            )  # fmt: skip


def damaged(path: Path, what: str) -> CheckFailed:
    """Return the error for a damaged or unexpected bundle."""
    return CheckFailed(f"{path}: {what}", "copy it again, or export it again")


def _entries(path: Path, archive: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    """Return the members by name, the manifest first."""
    entries: dict[str, tarfile.TarInfo] = {}
    try:
        for entry in archive:
            if entry.type != tarfile.REGTYPE:
                raise damaged(path, f"{entry.name} is not a plain file")
            if entry.name in entries:
                raise damaged(path, f"{entry.name} is in it twice")
            entries[entry.name] = entry
    except BROKEN as error:
        last = next(reversed(entries), "its first member")
        raise damaged(path, f"is cut off or broken at {last}: {error}") from None
    if next(iter(entries), None) != MANIFEST:
        raise damaged(path, f"is not a bundle: it does not begin with {MANIFEST}")
    return entries


def _manifest(
    path: Path, archive: tarfile.TarFile, entries: dict[str, tarfile.TarInfo]
) -> Manifest:
    entry = entries[MANIFEST]
    file = archive.extractfile(entry)
    if file is None or entry.size > _LARGEST_MANIFEST:
        raise damaged(path, f"{MANIFEST} has {entry.size} bytes")
    try:
        table = parse_json(decoded(file.read()))
    except ValueError as error:
        raise damaged(path, f"{MANIFEST} is not JSON: {error}") from None
    version = table.get("schema_version") if isinstance(table, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise damaged(path, f"{MANIFEST} has no schema_version")
    if version > SCHEMA_VERSION:
        problem = f"was made by a newer Quern: it is {version}, this one reads {SCHEMA_VERSION}"
        advice = "update Quern, or export it again from this version"
        raise ConfigError([Problem(problem, path, key="schema_version", suggestion=advice)])
    try:
        return Manifest.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        shown_input = f": {first['input']!r}" if isinstance(first["input"], str) else ""
        raise damaged(path, f"{MANIFEST}: {place}: {first['msg']}{shown_input}") from None


def _require_listed(path: Path, manifest: Manifest, entries: dict[str, tarfile.TarInfo]) -> None:
    listed: dict[str, Member] = {}
    for member in manifest.members:
        if member.name in listed:
            raise damaged(path, f"{MANIFEST} lists {member.name} twice")
        listed[member.name] = member
    for name in entries:
        if name != MANIFEST and name not in listed:
            raise damaged(path, f"{name} is in it, and not in its manifest")
    for name, member in listed.items():
        if name not in entries:
            raise damaged(path, f"{name} is missing")
        if entries[name].size != member.bytes:
            raise damaged(path, f"{name} has {entries[name].size} bytes, not {member.bytes}")
    named = {image.member for image in manifest.images}
    saved = {member.name for member in manifest.below(IMAGES)}
    for name in sorted(named ^ saved):
        raise damaged(path, f"{name} is {'missing' if name in named else 'of no toolchain'}")
