"""Reads the metadata of a toolchain's wheels, without unpacking them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable
from email.utils import getaddresses
from pathlib import Path

from packaging.metadata import RawMetadata, parse_email

from targets.errors import EnvironmentUnable
from targets.release.sbom.contents import PythonPackage
from targets.release.sbom.licences import licence_in_metadata
from targets.toolchain.wheelhouse import Wheel

_INFO = ".dist-info/METADATA"
_LONGEST_SUMMARY = 200


def read_wheels(
    wheels: Iterable[Wheel], sha256: Callable[[Path], str]
) -> tuple[PythonPackage, ...]:
    """Return the metadata of each wheel; ``sha256`` is a function that returns a file's digest.

    Raises ``EnvironmentUnable`` for a wheel that cannot be read or is not that of the lock.
    """
    return tuple(_read(wheel, sha256(wheel.path)) for wheel in wheels)


def _read(wheel: Wheel, sha256: str) -> PythonPackage:
    if sha256 not in wheel.pin.sha256:
        raise EnvironmentUnable(
            f"{wheel.path} is not the wheel that the lock pins as {wheel.pin}",
            "remove that file and run again",
        )
    metadata = _metadata(wheel.path)
    return PythonPackage(
        name=wheel.pin.name,
        version=str(wheel.pin.version),
        file=wheel.path.name,
        sha256=sha256,
        licence=licence_in_metadata(
            metadata.get("license_expression", ""),
            metadata.get("license", ""),
            metadata.get("classifiers", []),
        ),
        summary=_short(metadata.get("summary", "")),
        authors=_authors(metadata),
        index=wheel.pin.pytorch_index or "",
    )


def _metadata(path: Path) -> RawMetadata:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(_INFO)]
            (name,) = [name for name in names if name.count("/") == 1]  # deeper ones are vendored
            return parse_email(archive.read(name))[0]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise EnvironmentUnable(
            f"{path} has no METADATA that can be read ({error})", "remove that file and run again"
        ) from error


def _authors(metadata: RawMetadata) -> tuple[str, ...]:
    """Return the names of the authors without addresses, which are of no use in an SBOM.

    An author without a name is represented by the address.
    """
    for key in ("author", "author_email", "maintainer", "maintainer_email"):
        words = str(metadata.get(key, "")).strip()
        if words and words.casefold() != "unknown":
            return tuple(_names(words)) if key.endswith("_email") else (_short(words),)
    return ()


def _names(words: str) -> Iterable[str]:
    """Return the names in ``Ann <a@x>, "B, C" <b@x>``. A name with a comma is quoted."""
    return (name or address for name, address in getaddresses([words]) if name or address)


def _short(words: str) -> str:
    line = " ".join(words.split())
    return line if len(line) <= _LONGEST_SUMMARY else f"{line[: _LONGEST_SUMMARY - 3]}..."
