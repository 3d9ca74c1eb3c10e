"""Compares a release with its rebuild, file by file."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from targets.release import layout
from targets.release.differences.compare_files import compare_files
from targets.release.differences.difference import Difference
from targets.release.sums import read_sums


@dataclass(frozen=True)
class ReleaseComparison:
    """The compared files, and the differences."""

    files: tuple[str, ...]
    """Files that were compared."""
    differences: tuple[Difference, ...]


def compare_releases(released: Path, rebuilt: Path) -> ReleaseComparison:
    """Compare every file except the provenances, which describe how each of the two was made."""
    names = {path.name for folder in (released, rebuilt) for path in folder.iterdir()}
    names -= {layout.PROVENANCE, layout.REBUILT, layout.SUMS}
    differences = [
        difference
        for name in sorted(names)
        for difference in compare_files(name, released / name, rebuilt / name)
    ]
    if _sums(released, names) != _sums(rebuilt, names):
        differences.append(Difference(file=layout.SUMS, what="lists other digests"))
    return ReleaseComparison(tuple(sorted({*names, layout.SUMS})), tuple(differences))


def _sums(folder: Path, names: AbstractSet[str]) -> dict[str, str]:
    """Return the digests that ``SHA256SUMS`` lists of ``names``."""
    digests = read_sums((folder / layout.SUMS).read_bytes(), layout.SUMS)
    return {name: digest for name, digest in digests.items() if name in names}
