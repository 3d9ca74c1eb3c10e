"""Rows of token ids: a few in memory, many in an Arrow file that is mapped into memory."""

from __future__ import annotations

import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, overload

from pipeline.data.row_store import Picked
from pipeline.data.tokens import Tokens

_BATCH = 1 << 20
"""Tokens that are written at a time; fewer than that are kept in memory."""


class TokenRows(Sequence[Tokens]):
    """Training rows. Memory grows by some bytes for each row, however long it is.

    The file, in the format of Arrow's IPC, lies in a temporary folder and is gone with the rows.
    """

    def __init__(self, rows: Iterable[Tokens] = ()) -> None:
        self.lengths = array("l")
        """Tokens of each row."""
        self._ids, self._labels = array("i"), array("i")
        self._ends = array("l", [0])
        """Where the rows in memory end."""
        self._file: _ArrowFile | None = None
        for row in rows:
            self.append(row)

    def append(self, row: Tokens) -> None:
        """Add the next row."""
        self.lengths.append(len(row.ids))
        self._ids.extend(row.ids)
        self._labels.extend(row.labels)
        self._ends.append(len(self._ids))
        if len(self._ids) >= _BATCH:
            if self._file is None:
                self._file = _ArrowFile()
            self._file.write(self._ends, self._ids, self._labels)
            self._ids, self._labels, self._ends = array("i"), array("i"), array("l", [0])

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, index: int) -> Tokens: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Tokens]: ...

    def __getitem__(self, index: int | slice) -> Tokens | Sequence[Tokens]:
        if isinstance(index, slice):
            return Picked(self, range(len(self))[index])
        index = range(len(self))[index]
        if self._file is not None:
            if index < self._file.rows:
                return self._file.row(index)
            index -= self._file.rows
        begin, end = self._ends[index], self._ends[index + 1]
        return Tokens(tuple(self._ids[begin:end]), tuple(self._labels[begin:end]))


class _ArrowFile:
    """Batches of rows, two lists of numbers each, that are read where they lie on disk."""

    def __init__(self) -> None:
        import pyarrow

        numbers = pyarrow.list_(pyarrow.int32())
        self._schema = pyarrow.schema([("ids", numbers), ("labels", numbers)])
        self._folder = tempfile.TemporaryDirectory(prefix="quern-tokens-")
        self._path = Path(self._folder.name) / "rows.arrow"
        self._writer = pyarrow.ipc.new_stream(str(self._path), self._schema)
        self._starts = array("l")
        self._batches: list[Any] | None = None
        self.rows = 0

    def write(self, ends: array[int], ids: array[int], labels: array[int]) -> None:
        import pyarrow

        offsets = pyarrow.array(ends, pyarrow.int32())
        columns = [
            pyarrow.ListArray.from_arrays(offsets, pyarrow.array(numbers, pyarrow.int32()))
            for numbers in (ids, labels)
        ]
        self._writer.write_batch(pyarrow.RecordBatch.from_arrays(columns, schema=self._schema))
        self._starts.append(self.rows)
        self.rows += len(ends) - 1
        self._batches = None

    def row(self, index: int) -> Tokens:
        number = bisect_right(self._starts, index) - 1
        batch, at = self._mapped()[number], index - self._starts[number]
        ids, labels = (batch.column(name)[at].values.to_numpy().tolist() for name in (0, 1))
        return Tokens(tuple(ids), tuple(labels))

    def _mapped(self) -> list[Any]:
        """Return the batches, whose numbers stay on disk."""
        import pyarrow

        if self._batches is None:
            self._writer.close()
            self._batches = list(pyarrow.ipc.open_stream(pyarrow.memory_map(str(self._path))))
        return self._batches
