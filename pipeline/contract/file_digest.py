"""The digest of one file of a folder."""

from __future__ import annotations

from pipeline.contract.frozen import Frozen


class FileDigest(Frozen):
    """One file of a folder: POSIX path relative to it, size in bytes, SHA-256."""

    path: str
    bytes: int
    sha256: str
