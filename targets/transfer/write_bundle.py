"""Writes a bundle: completely or not at all, with the same bytes for the same content.

The size of a saved image is known only when the engine has sent all of it. So each member is
written to its place before its header. The manifest is the first member and is known last: enough
space is reserved for it, and filled with blanks.
"""

from __future__ import annotations

import errno
import hashlib
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from targets.atomic import atomic_file
from targets.errors import EnvironmentUnable
from targets.transfer.bundle import IMAGES, MANIFEST, Manifest, Member
from targets.transfer.saved_image import NotOneImage, read_saved

_ZEROS = "0" * 64
_LARGEST = 10**15
"""Upper bound of a member's size in bytes, and so of the length of numbers in a manifest."""

Describe = Callable[[Sequence[Member], Mapping[str, str]], Manifest]
"""Function that makes the manifest from the members, and the digests of image configs by member."""


@dataclass(frozen=True)
class Part:
    """The source of a member of the tar."""

    name: str
    chunks: Callable[[], Iterator[bytes]]


def write_bundle(output: Path, parts: Sequence[Part], describe: Describe) -> Manifest:
    """Write ``parts``, in their order, and the manifest that ``describe`` makes for them.

    ``output`` appears under its name only when complete. Raises ``EnvironmentUnable`` if the disk
    is full or the engine sends something other than an image.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic_file(output) as partial, partial.open("w+b") as file:
            return _write(file, parts, describe)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise EnvironmentUnable(
            f"the disk is full (writing {output})",
            "free some space, or choose another place with --output",
        ) from error


def _write(file: BinaryIO, parts: Sequence[Part], describe: Describe) -> Manifest:
    room = _room(parts, describe)
    file.seek(len(_header(MANIFEST, 0)) + _padded(room))
    members, configs = [], {}
    for part in parts:
        start = file.tell() + len(_header(part.name, 0))
        members.append(_write_member(file, part.name, part.chunks()))
        if part.name.startswith(IMAGES):
            configs[part.name] = _config_at(file, start)
    file.write(bytes(2 * tarfile.BLOCKSIZE))
    manifest = describe(members, configs)
    content = _json(manifest).ljust(room)
    assert len(content) == room, "the manifest would write over what follows it"  # noqa: S101
    file.seek(0)
    _write_member(file, MANIFEST, [content])
    return manifest


def _room(parts: Sequence[Part], describe: Describe) -> int:
    """Return an upper bound of the manifest's size in bytes."""
    members = [Member(name=part.name, bytes=_LARGEST, sha256=_ZEROS) for part in parts]
    return len(_json(describe(members, dict.fromkeys((part.name for part in parts), _ZEROS))))


def _json(manifest: Manifest) -> bytes:
    return manifest.model_dump_json(indent=1).encode()


def _write_member(file: BinaryIO, name: str, chunks: Iterable[bytes]) -> Member:
    start = file.tell()
    file.seek(start + len(_header(name, 0)))
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        file.write(chunk)
        digest.update(chunk)
        size += len(chunk)
    file.write(bytes(_padded(size) - size))
    end = file.tell()
    file.seek(start)
    file.write(_header(name, size))
    file.seek(end)
    return Member.model_construct(name=name, bytes=size, sha256=digest.hexdigest())


def _header(name: str, size: int) -> bytes:
    """Return the header of a member; its length depends on the name alone.

    Time and owner are zero. GNU's format holds sizes beyond 8 GB in the same place.
    """
    entry = tarfile.TarInfo(name)
    entry.mode = 0o644
    entry.size = size
    return entry.tobuf(tarfile.GNU_FORMAT)


def _padded(size: int) -> int:
    return size + -size % tarfile.BLOCKSIZE


def _config_at(file: BinaryIO, start: int) -> str:
    """Return the digest of the config of the image that was written at ``start``."""
    end = file.tell()
    file.seek(start)
    try:
        return read_saved(file).config
    except NotOneImage as error:
        raise EnvironmentUnable(f"the engine saved no image: {error}", "run it again") from None
    finally:
        file.seek(end)
