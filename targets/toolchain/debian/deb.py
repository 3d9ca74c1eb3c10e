"""Reads a ``.deb`` file: deb(5), an ``ar`` archive of two tars.

The size of each member is limited, packed and unpacked, so that none can fill the memory.
"""

from __future__ import annotations

import io
import lzma
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

_MAGIC = b"!<arch>\n"
_HEADER = 60
_MOST_UNPACKED = 256 << 20
"""Largest size of a tar in a package, in bytes; that of the base's largest package is 20 MB."""


class BadPackage(Exception):
    """A file is not a valid Debian package."""


@dataclass(frozen=True)
class Deb:
    """The content of a package."""

    control: str
    """Its description, as a paragraph of deb-control(5)."""
    data: bytes
    """Its files, as an uncompressed tar."""


def read_deb(content: bytes) -> Deb:
    """Parse the ``content`` of a ``.deb`` file. Raises ``BadPackage``."""
    members = dict(_members(content))
    if members.get("debian-binary", b"")[:2] != b"2.":
        raise BadPackage("it is no Debian package of format 2")
    control = _tar(members, "control.tar")
    try:
        with tarfile.open(fileobj=io.BytesIO(control), mode="r:") as archive:
            file = archive.extractfile("./control")
            if file is None:
                raise BadPackage("its control file is no file")
            text = file.read().decode()
    except (tarfile.TarError, KeyError, ValueError) as error:
        raise BadPackage(f"its control file cannot be read: {error}") from None
    return Deb(text.strip("\n"), _tar(members, "data.tar"))


def _members(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the members of an ``ar`` archive, in the common format with names up to 16 bytes."""
    if not content.startswith(_MAGIC):
        raise BadPackage("it is no ar archive")
    position = len(_MAGIC)
    while position < len(content):
        header = content[position : position + _HEADER]
        digits = header[48:58].strip()
        if len(header) < _HEADER or header[58:] != b"`\n" or not digits.isdigit():
            raise BadPackage(f"the archive is damaged at byte {position}")
        start = position + _HEADER
        end = start + int(digits)
        if end > len(content):
            raise BadPackage(f"the archive is cut short at byte {start}")
        yield header[:16].decode("ascii", "replace").strip().rstrip("/"), content[start:end]
        position = end + end % 2


def _tar(members: dict[str, bytes], name: str) -> bytes:
    """Return the member ``name``, a tar, uncompressed; Debian 12 and older compress it by xz."""
    if name in members:
        return members[name]
    packed = members.get(f"{name}.xz")
    if packed is None:
        present = ", ".join(sorted(member for member in members if member.startswith(name)))
        raise BadPackage(f"it has no {name}.xz but {present or 'no such member'}")
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    try:
        plain = decompressor.decompress(packed, max_length=_MOST_UNPACKED)
    except lzma.LZMAError as error:
        raise BadPackage(f"its {name}.xz cannot be unpacked: {error}") from None
    if not decompressor.eof:
        raise BadPackage(f"its {name}.xz is cut short or unpacks to over {_MOST_UNPACKED >> 20} MB")
    return plain
