"""Puts files on the disk for good: synced, readable by all, and listed with their digests."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.contract.errors import StepError
from pipeline.contract.file_digest import FileDigest
from pipeline.contract.sha256 import sha256_of_file


def seal(output: Path) -> tuple[FileDigest, ...]:
    """Sync all files below ``output`` to disk, make them readable by all, and return their digests.

    Raises :class:`StepError` for a symbolic link, which would break when the folder is moved.
    """
    files = []
    for path in sorted(output.rglob("*")):
        if path.is_symlink():
            name = path.relative_to(output).as_posix()
            raise StepError(f"the output holds a symbolic link, which cannot be kept: {name}")
        if path.is_dir():
            path.chmod(0o755)
            continue
        path.chmod(0o644)
        files.append(path)
    # The disk is slower than the hash: files are hashed while earlier ones are written to it.
    with ThreadPoolExecutor(1) as disk, ThreadPoolExecutor(1) as processor:
        written = disk.map(sync, files)
        digests = list(processor.map(sha256_of_file, files))
        list(written)
    for folder in (*(p for p in output.rglob("*") if p.is_dir()), output):
        sync(folder)
    return tuple(
        FileDigest(
            path=path.relative_to(output).as_posix(), bytes=path.stat().st_size, sha256=digest
        )
        for path, digest in zip(files, digests, strict=True)
    )


def sync(path: Path) -> None:
    """Wait until the file or folder ``path`` is on the disk. Windows opens no folders, and writes
    only files that are open for writing."""
    windows = sys.platform == "win32"
    if windows and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
