"""Rows that stay on disk: where each begins is known, and it is read when it is asked for."""

from __future__ import annotations

import json
import tempfile
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TypeVar, overload
from weakref import finalize

from pydantic import JsonValue

T = TypeVar("T")

_BUFFER = 1 << 18
"""Bytes that are read at a time: most rows are read one after the other."""
_IN_MEMORY = 16 << 20
"""Bytes of rows of other formats that are kept in memory; more are written to a temporary file."""


@dataclass(frozen=True)
class Row:
    """One row: its first line in the file, counted from 1, and its columns."""

    line: int
    values: Mapping[str, JsonValue]
    file: int = 0
    """Number of the file, counted from 0."""


class StoredFile:
    """The rows of one file, as JSON on one line each: in the file itself, or in a copy."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.begins = array("Q")
        self.lines = array("Q")

    @cached_property
    def _stream(self) -> IO[bytes]:
        stream: IO[bytes]
        if self._path is not None:
            stream = self._path.open("rb", _BUFFER)
        else:
            stream = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed below
        finalize(self, stream.close)
        return stream

    def note(self, line: int, begin: int) -> None:
        """Add the row in ``line``, which begins at the byte ``begin`` of the file itself."""
        self.lines.append(line)
        self.begins.append(begin)

    def extend(self, other: StoredFile, lines: int) -> None:
        """Add the rows of another part of the same file, which has ``lines`` lines before it."""
        self.lines.extend(lines + line for line in other.lines)
        self.begins += other.begins

    def keep(self, line: int, values: Mapping[str, JsonValue]) -> None:
        """Add a copy of the row in ``line``, whose file has another format."""
        self.note(line, self._stream.seek(0, 2))
        self._stream.write(json.dumps(values).encode() + b"\n")

    def values(self, index: int) -> dict[str, JsonValue]:
        """Return the columns of a row."""
        self._stream.seek(self.begins[index])
        values: dict[str, JsonValue] = json.loads(self._stream.readline())
        return values


class StoredRows(Sequence[Row]):
    """The rows of files, one file after the other."""

    def __init__(self, files: Sequence[StoredFile] = ()) -> None:
        self._files = tuple(files)
        self._starts = array("Q", [0])
        for file in self._files:
            self._starts.append(self._starts[-1] + len(file.lines))

    def __len__(self) -> int:
        return self._starts[-1]

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        if isinstance(index, slice):
            return Picked(self, range(len(self))[index])
        index = range(len(self))[index]
        number = next(at for at, end in enumerate(self._starts[1:]) if index < end)
        file, at = self._files[number], index - self._starts[number]
        return Row(file.lines[at], file.values(at), number)

    def __iter__(self) -> Iterator[Row]:
        for number, file in enumerate(self._files):
            for at, line in enumerate(file.lines):
                yield Row(line, file.values(at), number)


class Picked(Sequence[T]):
    """Some of the items of a sequence, by their indices."""

    def __init__(self, items: Sequence[T], picks: Sequence[int]) -> None:
        self.items = items
        self.picks = picks

    def __len__(self) -> int:
        return len(self.picks)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...

    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return Picked(self.items, self.picks[index])
        return self.items[self.picks[index]]

    def __iter__(self) -> Iterator[T]:
        return (self.items[index] for index in self.picks)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]
