"""Fetches packages of a lock from this machine's mirrors, as its apt is set to: proxies and all.

A mirror is not trusted: each file has to have the size and the SHA-256 of the lock.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from targets.errors import EnvironmentUnable
from targets.toolchain.debian.packages import Package
from targets.toolchain.process import ToolFailed, run_tool

_HELPER = Path("/usr/lib/apt/apt-helper")
"""Part of the package ``apt``: fetches URIs as apt does, several over one connection."""

_SECONDS = 20
"""How long a mirror may stay silent."""

_GONE = re.compile(r"404\s+Not Found|File not found", re.IGNORECASE)
_DAMAGED = re.compile(r"Hash Sum mismatch|unexpected size|larger than expected", re.IGNORECASE)


def fetch(
    packages: Sequence[Package], mirrors: Mapping[str, Sequence[str]], folder: Path
) -> Iterator[tuple[Package, bytes]]:
    """Fetch all ``packages`` into ``folder``, then yield each with its content, in their order.

    What one mirror of a release does not have is asked of the next. Raises ``EnvironmentUnable``
    when a package cannot be had.
    """
    output = ""
    for turn in range(max((len(uris) for uris in mirrors.values()), default=0)):
        wanted = {
            package: f"{uris[turn]}{quote(package.path)}"
            for package in packages
            if turn < len(uris := mirrors.get(package.release, ()))
            and not _file(package, folder).exists()
        }
        output += _download(wanted, folder)
    missing = [package for package in packages if not _file(package, folder).exists()]
    if missing:
        raise _unable(missing, output)
    for package in packages:
        yield package, _verified(package, folder)


def _file(package: Package, folder: Path) -> Path:
    return folder / f"{package.name}.deb"


def _download(wanted: Mapping[Package, str], folder: Path) -> str:
    """Fetch what there is to be had, and return what apt said where something was not."""
    if not wanted:
        return ""
    command = [
        str(_HELPER),
        *(f"-oAcquire::{scheme}::Timeout={_SECONDS}" for scheme in ("http", "https", "ftp")),
        "-oAcquire::Retries=2",
        "download-file",
    ]
    for package, uri in wanted.items():
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
    if hashlib.sha256(content).hexdigest() != package.sha256:
        raise _unable([package], "Hash Sum mismatch")
    return content


def _unable(packages: Sequence[Package], output: str) -> EnvironmentUnable:
    names = ", ".join(f"{package.name} {package.version}" for package in packages[:3])
    if len(packages) > 3:
        names += f" and {len(packages) - 3} more"
    errors = [line.strip() for line in output.splitlines() if line.startswith(("E:", "Err:"))]
    if _DAMAGED.search(output):
        why = "a mirror serves other files than the lock says"
        hint = "do not trust that mirror; set another in apt's sources"
    elif _GONE.search(output):
        why = "this machine's Debian mirrors have these versions no more"
        hint = "`nox -s lock` pins those that they have now"
    else:
        why = "this machine's Debian mirrors cannot be reached"
        hint = "check the network, and apt's sources and proxy with `apt-get update`"
    last = f"\napt: {errors[-1]}" if errors else ""
    return EnvironmentUnable(
        f"cannot fetch {len(packages)} package(s) for the base image: {names}: {why}{last}",
        f"{hint}; with a registry in reach, or with `--runtime venv`, they are not needed",
    )
