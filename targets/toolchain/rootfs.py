"""A root file system for the base image that was made on this machine, by any of the makers."""

from __future__ import annotations

import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

from pipeline.contract.sha256 import sha256_of_file
from targets.atomic import replace_file

MMDEBSTRAP = "mmdebstrap"
DEBIAN_PACKAGES = "debian-packages"
MAKERS = (MMDEBSTRAP, DEBIAN_PACKAGES)
"""Names of the makers of a base, with which its identity begins."""

LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
"""Files of packages that no step needs."""

STATUS = "var/lib/dpkg/status"
"""dpkg's list of what is installed."""


@dataclass(frozen=True)
class Rootfs:
    """A root file system as a tar file, and the SHA-256 of that file."""

    tar: Path
    sha256: str

    @property
    def versions(self) -> dict[str, str]:
        """Return the version of each Debian package that is installed in it."""
        lines = self.tar.with_suffix(".packages").read_text("utf-8").splitlines()
        return {name: version for name, _, version in (line.partition(" ") for line in lines)}


def keep(partial: Path, tar: Path) -> Rootfs:
    """Move the tar ``partial`` to ``tar`` and list the Debian versions in it beside it.

    ``NAME.packages`` has a line ``package version`` for each package that is installed.
    """
    replace_file(tar.with_suffix(".packages"), _versions(partial))
    digest = sha256_of_file(partial)
    partial.replace(tar)
    return Rootfs(tar, digest)


def _versions(tar: Path) -> str:
    with tarfile.open(tar) as archive:
        member = archive.extractfile(f"./{STATUS}")
        status = member.read().decode() if member else ""
    packages = re.findall(r"^Package: (\S+)$.*?^Version: (\S+)$", status, re.MULTILINE | re.DOTALL)
    return "".join(f"{name} {version}\n" for name, version in sorted(packages))
