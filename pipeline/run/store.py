"""Step results on disk, by key: written to a temporary folder, and renamed when complete.

``work`` is writable and belongs to this process; ``objects`` is the shared, read-only cache.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from pipeline.contract.errors import StepError
from pipeline.contract.plan import OUTPUT_DIR, object_path
from pipeline.contract.result import RESULT_FILE, StepResult, read_result
from pipeline.process.sealing import sync

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
        sync(path)
        sync(partial)
        partial.rename(self.work / result.key)
        sync(self.work)

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
