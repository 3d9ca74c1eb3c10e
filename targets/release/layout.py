"""The names and paths of the files of a release.

::

    dist/<build>/release/<version>/
        <build>-<version>-<target>.tar   model/, use/, report.json, README.md, SHA256SUMS
        <build>-<version>-adapter.tar    the trained outputs, for rebuilding on another machine
        sbom.cdx.json                    CycloneDX
        SHA256SUMS                       of the files above
        provenance.intoto.jsonl          in-toto statement with SLSA provenance
        rebuilt.intoto.jsonl             the same of those who made it again, if somebody did
"""

from __future__ import annotations

import re
from pathlib import Path

from targets.errors import ConfigError, Problem

FOLDER = "release"
SBOM = "sbom.cdx.json"
PROVENANCE = "provenance.intoto.jsonl"
REBUILT = "rebuilt.intoto.jsonl"
SUMS = "SHA256SUMS"
REPORT = "report.json"
CARD = "README.md"
"""Name of the model card, by which model hubs show it."""
MODEL = "model"
ADAPTER = "adapter"
"""Name of the part of a release that holds the trained outputs."""

_VERSION = re.compile(r"[0-9][0-9A-Za-z]*(?:[._+-][0-9A-Za-z]+)*")


def require_version(version: str) -> None:
    """Raise ``ConfigError`` unless ``version`` is valid: ``1.2.0``, ``2.0.0-rc.1``."""
    if len(version) > 64 or not _VERSION.fullmatch(version):
        raise ConfigError(
            [
                Problem(
                    f"'{version}' is not a version",
                    key="--version",
                    suggestion="write for example 1.2.0 or 2.0.0-rc.1",
                )
            ]
        )


def release_dir(dist: Path, build: str, version: str) -> Path:
    """Return the folder of one release."""
    return dist / build / FOLDER / version


def stem(build: str, version: str, part: str) -> str:
    """Return the name of an archive without its suffix, which is also that of its only folder."""
    return f"{build}-{version}-{part}"


def archive_name(build: str, version: str, part: str) -> str:
    """Return the name of the archive of a target, or of :data:`ADAPTER`."""
    return f"{stem(build, version, part)}.tar"
