"""Rows of token ids: a few in memory, many in an Arrow file that is mapped into memory."""

from __future__ import annotations

import mmap
import sys
import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, overload

from pipeline.data.row_store import Picked
from pipeline.data.tokens import IGNORED, Tokens

_BATCH = 1 << 20
"""Tokens that are written at a time; fewer than that are kept in memory."""
_MAPPED = 16
"""Rows that are read before their pages are given back: around each, a system may map a megabyte.
"""


class TokenRows(Sequence[Tokens]):
    """Training rows. Memory grows by some bytes for each row, however long it is.

    The file has the format of Arrow's IPC. It lies in a temporary folder and is gone with the rows,
    or at ``path``, where :meth:`close` completes it and :meth:`stored` finds it.
    """

    def __init__(self, rows: Iterable[Tokens] = (), path: Path | None = None) -> None:
        self.lengths = array("l")
        """Tokens of each row."""
        self._ids, self._labels = array("i"), array("i")
        self._ends = array("l", [0])
        """Where the rows in memory end."""
        self._path = path
        self._file: _ArrowFile | None = None
        for row in rows:
            self.append(row)

    @classmethod
    def stored(cls, path: Path) -> TokenRows:
        """Return the rows of the file at ``path``."""
        rows = cls()
        rows._file = _ArrowFile(path)
        rows.lengths.extend(rows._file.lengths())
        return rows

    def append(self, row: Tokens) -> None:
        """Add the next row."""
        self.lengths.append(len(row.ids))
        self._ids.extend(row.ids)
        self._labels.extend(row.labels)
        self._ends.append(len(self._ids))
        if len(self._ids) >= _BATCH:
            self._write()

    def close(self) -> None:
        """Write what is still in memory: no row is added any more."""
        self._write()
        self._written.close()

    def _write(self) -> None:
        if len(self._ids):
            self._written.write(self._ends, self._ids, self._labels)
        self._ids, self._labels, self._ends = array("i"), array("i"), array("l", [0])

    @property
    def _written(self) -> _ArrowFile:
        if self._file is None:
            self._file = _ArrowFile.new(self._path)
        return self._file

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
    """Batches of rows, each with its ids and which of them are learnt, that are read where they lie
    on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._writer: Any = None
        self._map: mmap.mmap | None = None
        self._batches: list[Any] = []
        self._starts = array("l", [0])
        """The number of rows before each batch, and of all."""
        self._read = 0

    @classmethod
    def new(cls, path: Path | None) -> _ArrowFile:
        """Return an empty file: that at ``path``, or a temporary one."""
        import pyarrow

        folder = None
        if path is None:
            folder = tempfile.TemporaryDirectory(prefix="quern-tokens-")
            path = Path(folder.name) / "rows.arrow"
        file = cls(path)
        file._folder = folder
        file._writer = pyarrow.ipc.new_stream(str(path), _schema())
        return file

    @property
    def rows(self) -> int:
        return self._starts[-1]

    def write(self, ends: array[int], ids: array[int], labels: array[int]) -> None:
        """Add the rows that end at ``ends``, of which the first is where the first one begins."""
        import numpy
        import pyarrow

        numbers, given = (numpy.frombuffer(column, numpy.int32) for column in (ids, labels))
        learnt = given != IGNORED
        if (numbers != given)[learnt].any():
            raise ValueError(f"a label is neither its token nor {IGNORED}")
        offsets = pyarrow.array(ends, pyarrow.int32())
        columns = [
            pyarrow.ListArray.from_arrays(offsets, pyarrow.array(values))
            for values in (numbers, learnt)
        ]
        self._writer.write_batch(pyarrow.RecordBatch.from_arrays(columns, schema=_schema()))
        self._starts.append(self.rows + len(ends) - 1)
        self._batches = []

    def close(self) -> None:
        """Write how the file ends."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def lengths(self) -> Iterator[int]:
        """Yield the number of tokens of each row."""
        for batch in self._mapped():
            yield from batch.column(0).value_lengths().to_numpy().tolist()

    def row(self, index: int) -> Tokens:
        import numpy

        batches = self._mapped()
        number = bisect_right(self._starts, index) - 1
        batch, at = batches[number], index - self._starts[number]
        ids = batch.column(0)[at].values.to_numpy()
        learnt = batch.column(1)[at].values.to_numpy(zero_copy_only=False)
        row = Tokens(tuple(ids.tolist()), tuple(numpy.where(learnt, ids, IGNORED).tolist()))
        self._give_back()
        return row

    def _mapped(self) -> list[Any]:
        """Return the batches, whose numbers stay on disk."""
        import pyarrow

        if not self._batches:
            self.close()
            with self._path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._batches = list(pyarrow.ipc.open_stream(pyarrow.py_buffer(self._map)))
            self._starts = array("l", accumulate(map(len, self._batches), initial=0))
        return self._batches

    def _give_back(self) -> None:
        """Count no longer as memory of this process what it has read: the system keeps the pages of
        a file that is mapped as long as it has room, and maps those around each as well."""
        self._read += 1
        if self._read % _MAPPED == 0 and self._map is not None and sys.platform != "win32":
            self._map.madvise(mmap.MADV_DONTNEED)


def _schema() -> Any:
    import pyarrow

    ids, learnt = pyarrow.list_(pyarrow.int32()), pyarrow.list_(pyarrow.bool_())
    return pyarrow.schema([("ids", ids), ("learnt", learnt)])
