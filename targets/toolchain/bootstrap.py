"""Makes the base's root file system from Debian's packages with mmdebstrap.

Reproducible: the same package versions under the same ``source_date_epoch`` give the same bytes
(see REPRODUCIBLE OUTPUT in mmdebstrap(1)).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from pydantic import Field

from pipeline.contract.frozen import Frozen
from targets.errors import EnvironmentUnable
from targets.toolchain.debian.mirrors import mirrors
from targets.toolchain.rootfs import LEFT_OUT, Rootfs, keep
from targets.toolchain.run_tool import ToolFailed, output_of, run_tool

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_HOST_FILES = ("sources.list", "apt.conf.d/99mmdebstrap")
"""Files below ``/etc/apt`` in which mmdebstrap writes this machine's mirrors and credentials."""


class Bootstrap(Frozen):
    """The Debian release and the packages of which the base is made."""

    suite: str
    packages: tuple[str, ...] = Field(min_length=1)
    source_date_epoch: int


def make_rootfs(recipe: Bootstrap, folder: Path, name: str) -> Rootfs:
    """Make ``NAME.tar`` in ``folder`` and ``NAME.packages``, the list of Debian versions in it.

    Needs the tools of :func:`missing_tools`. Raises ``EnvironmentUnable`` if the packages cannot be
    fetched.
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
        return keep(partial, tar)


def missing_tools() -> tuple[str, ...]:
    """Return the Debian packages that mmdebstrap needs and that are not installed here."""
    present = {
        "mmdebstrap": shutil.which("mmdebstrap") is not None,
        "debian-archive-keyring": KEYRING.exists(),
    }
    return tuple(name for name, installed in present.items() if not installed)


def _command(recipe: Bootstrap) -> list[str]:
    cleaning = [f'rm -f "$1/etc/apt/{name}"' for name in _HOST_FILES]
    cleaning.append('rm -f "$1/etc/resolv.conf" "$1/etc/hostname"')
    return [
        *("mmdebstrap", "--variant=essential", "--format=tar", "--components=main"),
        f"--include={','.join(recipe.packages)}",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
        *(f"--customize-hook={line}" for line in cleaning),
    ]


def _environment(recipe: Bootstrap) -> dict[str, str]:
    """Return mmdebstrap's environment, with the proxy that this machine's apt is set to use."""
    proxies = {
        f"{scheme}_proxy": value
        for scheme in ("http", "https")
        if (value := output_of("apt-config", "dump", "--format=%v", f"Acquire::{scheme}::Proxy"))
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
    return [f"deb {uri} {name} main" for name, uris in mirrors(suite).items() for uri in uris]
