"""Fetches packages of a lock from this machine's mirrors, with its apt configuration and proxies.

Mirrors are not trusted: each file must have the size and the SHA-256 of the lock.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from pipeline.contract.sha256 import sha256_of_bytes
from targets.errors import EnvironmentUnable
from targets.toolchain.debian.packages import Package
from targets.toolchain.run_tool import ToolFailed, run_tool

_HELPER = Path("/usr/lib/apt/apt-helper")
"""Part of the package ``apt``: fetches URIs as apt does, several over one connection."""

_SECONDS = 20
"""Time limit for an answer of a mirror."""


class PackagesGone(EnvironmentUnable):
    """The mirrors answer, but no longer have a version of the lock."""


_GONE = re.compile(r"404\s+Not Found|No such file or directory")
_DAMAGED = re.compile(r"Hash Sum mismatch|unexpected size")


def fetch(
    packages: Sequence[Package], mirrors: Mapping[str, Sequence[str]], folder: Path
) -> Iterator[tuple[Package, bytes]]:
    """Fetch all ``packages`` into ``folder``, then yield each with its content, in their order.

    Packages that one mirror of a release does not have are fetched from the next. Raises
    ``PackagesGone`` if none has them any more, and ``EnvironmentUnable`` for other failures.
    """
    output = ""
    for turn in range(max((len(uris) for uris in mirrors.values()), default=0)):
        targets = {}
        for package in packages:
            uris = mirrors.get(package.release, ())
            if turn < len(uris) and not _file(package, folder).exists():
                targets[package] = f"{uris[turn]}{quote(package.path)}"
        output += _download(targets, folder)
    missing = [package for package in packages if not _file(package, folder).exists()]
    if missing:
        raise _unable(missing, output)
    for package in packages:
        yield package, _verified(package, folder)


def _file(package: Package, folder: Path) -> Path:
    return folder / f"{package.name}.deb"


def _download(targets: Mapping[Package, str], folder: Path) -> str:
    """Fetch as many as possible, and return apt's messages about the others."""
    if not targets:
        return ""
    command = [
        str(_HELPER),
        *(f"-oAcquire::{scheme}::Timeout={_SECONDS}" for scheme in ("http", "https", "ftp")),
        "-oAcquire::Retries=2",
        "download-file",
    ]
    for package, uri in targets.items():
        hashes = (f"SHA256:{package.sha256}", f"Checksum-FileSize:{package.size}")
        command += [uri, str(_file(package, folder)), *hashes]
    try:
        run_tool(command, tool="apt-helper")
    except ToolFailed as error:
        return error.output
    return ""


def _verified(package: Package, folder: Path) -> bytes:
    file = _file(package, folder)
    content = file.read_bytes() if file.stat().st_size == package.size else b""
    if sha256_of_bytes(content) != package.sha256:
        raise _unable([package], "Hash Sum mismatch")
    return content


def _unable(packages: Sequence[Package], output: str) -> EnvironmentUnable:
    names = ", ".join(f"{package.name} {package.version}" for package in packages[:3])
    if len(packages) > 3:
        names += f" and {len(packages) - 3} more"
    errors = re.findall(r"^E: (Failed to fetch .*)$", output, re.MULTILINE)
    last = f"\napt: {errors[-1]}" if errors else ""
    message = f"cannot fetch {len(packages)} package(s) of the base image: {names}: "
    if _DAMAGED.search(output):
        return EnvironmentUnable(
            f"{message}a mirror serves other files than the lock says{last}",
            "do not trust that mirror: set another in apt's sources",
        )
    if _GONE.search(output):
        return PackagesGone(
            f"{message}this machine's Debian mirrors no longer have them{last}",
            "`nox -s lock -- --base` pins the versions that they have now",
        )
    return EnvironmentUnable(
        f"{message}this machine's Debian mirrors cannot be reached{last}",
        "check the network, and apt's sources and proxy with `apt-get update`, or use "
        "`--runtime venv`",
    )
