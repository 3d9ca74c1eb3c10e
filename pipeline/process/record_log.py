"""A file to which records are appended one by one, so that a killed run loses the last at most."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

from pipeline.contract.frozen import Frozen

R = TypeVar("R", bound=Frozen)

_SYNC_SECONDS = 1.0
"""Time after which records are also safe from a machine that loses power."""


class RecordLog(Generic[R]):
    """Records of one type, a line of JSON each. Without a file nothing is kept."""

    def __init__(self, record: type[R], file: Path | None) -> None:
        self._record = record
        self._file = file
        self._synced = 0.0

    def read(self) -> Iterator[R]:
        """Yield the records of earlier runs.

        What follows the last complete line is removed, because the next record is appended to it.
        """
        if self._file is None or not self._file.is_file():
            return
        complete_bytes = 0
        content = self._file.read_bytes()
        for line in content.splitlines(keepends=True):
            try:
                record = self._record.model_validate_json(line)
            except ValidationError:
                break
            if not line.endswith(b"\n"):
                break
            complete_bytes += len(line)
            yield record
        if complete_bytes < len(content):
            os.truncate(self._file, complete_bytes)

    def add(self, record: R) -> None:
        """Append a record."""
        if self._file is None:
            return
        with self._file.open("a", encoding="utf-8") as file:
            file.write(record.model_dump_json() + "\n")
            file.flush()
            if time.monotonic() - self._synced >= _SYNC_SECONDS:
                os.fsync(file.fileno())
                self._synced = time.monotonic()
