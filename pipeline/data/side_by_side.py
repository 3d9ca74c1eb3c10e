"""Reads a large file of JSON Lines in several processes, each of them a part.

What is wrong in a file is left to be found from its first row on: then nothing that is said of it
depends on where parts begin.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.contract.data_spec import DataSpec
from pipeline.data.check import CheckedRows
from pipeline.data.load import IN_LINES, part_of_lines
from pipeline.data.row_store import StoredFile
from pipeline.process.cpus import usable_cpus
from pipeline.process.signals import copying_this_process, end_with_the_original
from pipeline.reading.files import MB, UnreadableError, opened

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_PART = 16 * MB
"""Smallest part that is worth a process."""


@dataclass(frozen=True)
class _Part:
    """The rows of a part of a file."""

    stored: StoredFile
    checked: CheckedRows
    lines: int
    """Lines of the part, blank ones included."""


def read_side_by_side(
    files: Sequence[Path], spec: DataSpec
) -> tuple[StoredFile, CheckedRows] | None:
    """Return the rows of one large file and what was found in them; ``None`` for others, where
    anything is wrong with a row, and where this process cannot be copied."""
    ranges = list(pairwise(_cuts(files)))
    if len(ranges) < 2:
        return None
    file = files[0]
    with ExitStack() as stack:
        answers = [stack.enter_context(_asked(file, spec, *part)) for part in ranges[1:]]
        own = _read(file, spec, *ranges[0])
        if own is None:
            return None
        stored, checked, lines = own.stored, own.checked, own.lines
        for answer in answers:  # each is gone before the next one comes: it is large
            part = _answer(answer)
            if part is None:
                return None
            stored.extend(part.stored, lines)
            checked.extend(part.checked, lines)
            lines += part.lines
    return stored, checked


def _cuts(files: Sequence[Path]) -> Iterator[int]:
    """Yield where parts of a file begin and end."""
    # The copy of a process has none of its threads, and whatever they have locked stays so.
    alone = sys.platform != "win32" and threading.active_count() == 1
    if len(files) != 1 or files[0].suffix.lower() not in IN_LINES or not alone:
        return
    try:
        with opened(files[0]) as (stream, size):
            count = min(usable_cpus(), size // _PART)
            if count > 1:
                yield 0
                for number in range(1, count):
                    stream.seek(size * number // count)
                    stream.readline()
                    yield stream.tell()
                yield size
    except (OSError, UnreadableError):
        return


@contextmanager
def _asked(file: Path, spec: DataSpec, begin: int, end: int) -> Iterator[Connection]:
    """Have a copy of this process read a part; yield where its answer comes from."""
    from multiprocessing import get_context

    if sys.platform == "win32":
        raise NotImplementedError("there, no process can be copied")
    fork = get_context("fork")
    answer, ours = fork.Pipe(duplex=False)
    process = fork.Process(target=_send, args=(ours, file, spec, begin, end))
    with copying_this_process():
        process.start()
    ours.close()
    try:
        yield answer
    finally:
        answer.close()
        process.terminate()
        process.join()


def _send(answer: Connection, file: Path, spec: DataSpec, begin: int, end: int) -> None:
    end_with_the_original()
    with suppress(OSError):  # nobody waits for it any more
        answer.send(_read(file, spec, begin, end))


def _answer(answer: Connection) -> _Part | None:
    try:
        part = answer.recv()
    except EOFError:  # the process was killed
        return None
    return part if isinstance(part, _Part) else None


def _read(file: Path, spec: DataSpec, begin: int, end: int) -> _Part | None:
    checked = CheckedRows(spec)
    read = part_of_lines(file, begin, end, checked.add)
    if read is None or checked.is_refused:
        return None
    stored, lines = read
    checked.facts.sort()
    return _Part(stored, checked, lines)
