"""Small Debian packages, made without dpkg: also those that dpkg would never make."""

from __future__ import annotations

import hashlib
import io
import lzma
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from targets.toolchain.debian.packages import Package

Member = tuple[str, bytes | None] | tarfile.TarInfo
"""A file with its content, a folder without any, or whatever else a tar may hold."""

BASE = (
    *(("./", None), ("./usr/", None), ("./usr/share/", None), ("./etc/", None)),
    *(("./var/", None), ("./var/lib/", None), ("./var/lib/dpkg/", None)),
)
"""The folders that a root file system cannot do without."""


@dataclass(frozen=True)
class SmallPackage:
    """A package to be put into a ``.deb`` file."""

    name: str = "thing"
    version: str = "1:2.0-3"
    members: Sequence[Member] = field(default=BASE)

    def deb(self, parts: Mapping[str, bytes] | None = None) -> bytes:
        """Return the file; ``parts`` replace or join those that it has."""
        control = f"Package: {self.name}\nVersion: {self.version}\nArchitecture: all\n"
        return ar(
            {
                "debian-binary": b"2.0\n",
                "control.tar.xz": lzma.compress(tar([("./control", control.encode())])),
                "data.tar.xz": lzma.compress(tar(self.members)),
                **(parts or {}),
            }
        )

    def locked(self, content: bytes | None = None) -> Package:
        """Return its entry in a lock."""
        deb = self.deb() if content is None else content
        return Package(
            name=self.name,
            version=self.version,
            release="bookworm",
            path=f"pool/main/{self.name}_2.0-3_all.deb",
            size=len(deb),
            sha256=hashlib.sha256(deb).hexdigest(),
        )


def ar(members: Mapping[str, bytes]) -> bytes:
    """Return an ``ar`` archive in the common format."""
    whole = b"!<arch>\n"
    for name, content in members.items():
        whole += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        whole += content + b"\n" * (len(content) % 2)
    return whole


def tar(members: Sequence[Member]) -> bytes:
    """Return a tar of ``members`` in this order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            name, content = member
            entry = tarfile.TarInfo(name)
            entry.mode, entry.mtime = (0o755, 2e9) if content is None else (0o644, 5)
            if content is None:
                entry.type = tarfile.DIRTYPE
            entry.size = len(content or b"")
            archive.addfile(entry, io.BytesIO(content or b""))
    return buffer.getvalue()


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    """Return a member that is a link, a device or the like."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, link
    return entry
