"""Makes the base's root file system from Debian's packages with mmdebstrap.

Reproducible: the same package versions under the same ``source_date_epoch`` give the same bytes
(see REPRODUCIBLE OUTPUT in mmdebstrap(1)).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from pipeline.model import Frozen
from targets.errors import EnvironmentUnable
from targets.toolchain.process import ToolFailed, run_tool

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_STATUS = "./var/lib/dpkg/status"
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
_HOST_FILES = ("sources.list", "apt.conf.d/99mmdebstrap")
"""What mmdebstrap writes of this machine's mirrors below ``/etc/apt``; it may hold credentials."""


class Bootstrap(Frozen):
    """Which Debian release and packages the base is made of."""

    suite: str
    packages: tuple[str, ...] = Field(min_length=1)
    source_date_epoch: int


@dataclass(frozen=True)
class Rootfs:
    """A root file system as a tar file, and the SHA-256 of that file."""

    tar: Path
    sha256: str


def make_rootfs(recipe: Bootstrap, folder: Path, name: str) -> Rootfs:
    """Make ``NAME.tar`` in ``folder`` and ``NAME.packages``, the list of Debian versions in it.

    Needs what :func:`missing_tools` looks for. Raises ``EnvironmentUnable`` when the packages
    cannot be had.
    """
    tar, log = folder / f"{name}.tar", folder / f"{name}.log"
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        partial = Path(scratch) / "rootfs.tar"
        sources = _sources(recipe.suite)
        command = [*_command(recipe), recipe.suite, str(partial)]
        if sources:
            listing = Path(scratch) / "sources.list"
            listing.touch(mode=0o600)
            listing.write_text("".join(f"{line}\n" for line in sources), encoding="utf-8")
            command.append(str(listing))
        try:
            run_tool(command, tool="mmdebstrap", environment=_environment(recipe), log=log)
        except ToolFailed as error:
            raise EnvironmentUnable(
                f"mmdebstrap cannot make the base image: {error.last_line()}",
                "check that this machine's Debian mirror can be reached, or let the Docker Engine "
                "reach a registry; without root, mmdebstrap needs user namespaces and subuids",
                log,
            ) from error
        versions = _versions(partial)
        (folder / f"{name}.packages").write_text(versions, encoding="utf-8")
        partial.replace(tar)
    with tar.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return Rootfs(tar, digest.hexdigest())


def missing_tools() -> tuple[str, ...]:
    """Return the Debian packages with tools of :func:`make_rootfs` that this machine lacks."""
    there = {
        "mmdebstrap": shutil.which("mmdebstrap") is not None,
        "debian-archive-keyring": _KEYRING.exists(),
    }
    return tuple(name for name, here in there.items() if not here)


def _command(recipe: Bootstrap) -> list[str]:
    cleaning = [f'rm -f "$1/etc/apt/{name}"' for name in _HOST_FILES]
    cleaning.append('rm -f "$1/etc/resolv.conf" "$1/etc/hostname"')
    return [
        *("mmdebstrap", "--variant=essential", "--format=tar", "--components=main"),
        f"--include={','.join(recipe.packages)}",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
        *(f"--customize-hook={line}" for line in cleaning),
    ]


def _environment(recipe: Bootstrap) -> dict[str, str]:
    """Return mmdebstrap's environment, with the proxy that this machine's apt is set to use."""
    proxies = {
        f"{scheme}_proxy": value
        for scheme in ("http", "https")
        if (value := _output("apt-config", "dump", "--format=%v", f"Acquire::{scheme}::Proxy"))
    }
    return {
        **proxies,
        **os.environ,
        "SOURCE_DATE_EPOCH": str(recipe.source_date_epoch),
        "LC_ALL": "C.UTF-8",
    }


def _sources(suite: str) -> list[str]:
    """Return apt lines for ``suite`` from the mirrors that a Debian host is set to use.

    Empty on any other host: mmdebstrap then takes Debian's own mirror with updates and security.
    """
    release = _output("sh", "-c", '. /etc/os-release && echo "$ID $VERSION_CODENAME"').split()
    if len(release) != 2 or release[0] != "debian":
        return []
    host = release[1]
    listing = _output(
        "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)",
        "Created-By: Packages",
    )  # fmt: skip
    lines = set()
    for entry in listing.splitlines():
        uri, name, component = entry.split()
        if name in (host, f"{host}-updates", f"{host}-security") and component == "main":
            lines.add(f"deb {uri} {re.sub(f'^{host}', suite, name)} main")
    return sorted(lines) if any(line.endswith(f" {suite} main") for line in lines) else []


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _versions(tar: Path) -> str:
    """Return ``package version`` lines, sorted, from the package database inside ``tar``."""
    with tarfile.open(tar) as archive:
        member = archive.extractfile(_STATUS)
        status = member.read().decode() if member else ""
    found = re.findall(r"^Package: (\S+)$.*?^Version: (\S+)$", status, re.MULTILINE | re.DOTALL)
    return "".join(f"{name} {version}\n" for name, version in sorted(found))
