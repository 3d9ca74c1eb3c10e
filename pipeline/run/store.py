"""Step results on disk, by key: written to a temporary folder, and renamed when complete.

``work`` is writable and belongs to this process; ``objects`` is the shared, read-only cache.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipeline.contract.errors import StepError
from pipeline.contract.plan import OUTPUT_DIR, object_path
from pipeline.contract.result import RESULT_FILE, FileDigest, StepResult, read_result
from pipeline.contract.sha256 import sha256_of_file

PARTIAL = ".partial"
"""Suffix of a step's folder until it is complete; a killed process leaves such folders behind."""


@dataclass(frozen=True)
class Store:
    """The step results that this process can read, and those that it writes."""

    work: Path
    objects: Path | None = None

    def find(self, key: str) -> Path | None:
        """Return the folder of the finished step ``key``, or ``None``."""
        places = [self.work / key]
        if self.objects is not None:
            places.append(self.objects / object_path(key))
        return next((place for place in places if (place / RESULT_FILE).is_file()), None)

    def output(self, key: str, step: str) -> Path:
        """Return the output folder of the step. Raises :class:`StepError` if it is missing."""
        return self._found(key, step) / OUTPUT_DIR

    def result(self, key: str, step: str) -> StepResult:
        """Return the result of the step. Raises :class:`StepError` if it is missing."""
        return read_result(self._found(key, step))

    def begin(self, key: str) -> Path:
        """Return a new temporary folder for the step ``key``, with an empty output folder in it."""
        partial = self.work / (key + PARTIAL)
        shutil.rmtree(partial, ignore_errors=True)
        (partial / OUTPUT_DIR).mkdir(parents=True)
        return partial

    def publish(self, partial: Path, result: StepResult) -> None:
        """Write ``result`` into the folder ``partial``, sync both to disk, and rename the folder to
        its key."""
        path = partial / RESULT_FILE
        path.write_text(result.model_dump_json(indent=1) + "\n", "utf-8")
        _sync(path)
        _sync(partial)
        partial.rename(self.work / result.key)
        _sync(self.work)

    def discard(self, partial: Path) -> None:
        """Remove the temporary folder of a failed step."""
        shutil.rmtree(partial, ignore_errors=True)

    def _found(self, key: str, step: str) -> Path:
        place = self.find(key)
        if place is None:
            raise StepError(
                f"the output of '{step}' ({key[:12]}) is neither in the work folder nor in the "
                "cache",
                hint="run the build again; it makes what is missing",
            )
        return place


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
        written = disk.map(_sync, files)
        digests = list(processor.map(sha256_of_file, files))
        list(written)
    for folder in (*(p for p in output.rglob("*") if p.is_dir()), output):
        _sync(folder)
    return tuple(
        FileDigest(
            path=path.relative_to(output).as_posix(), bytes=path.stat().st_size, sha256=digest
        )
        for path, digest in zip(files, digests, strict=True)
    )


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
