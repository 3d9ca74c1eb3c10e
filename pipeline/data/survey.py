"""Reads and checks the rows of a data set once, from the first to the last, and keeps none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.contract.data_spec import DataSpec
from pipeline.data.check import EMPTY, CheckedRows
from pipeline.data.load import Note, read_files
from pipeline.data.problems import DataProblem
from pipeline.data.row_store import Row, StoredRows
from pipeline.data.select import select
from pipeline.data.side_by_side import read_side_by_side


@dataclass(frozen=True)
class Survey:
    """What was found in the rows of a data set."""

    rows: Sequence[Row]
    """Those that ``where`` and ``rows`` leave, which are read again when they are asked for."""
    checked: CheckedRows
    notes: list[Note]
    problems: list[DataProblem]
    """What is wrong with them; empty if they can be used."""


def survey(files: Sequence[Path], spec: DataSpec, part: bool = False) -> Survey:
    """Read and check the rows of ``files``.

    ``part`` says that they serve as a part of another data set, so that they are not split.
    """
    checked = CheckedRows(spec)
    if not spec.where and spec.rows is None:
        several = read_side_by_side(files, spec)
        if several is not None:
            stored, checked = several
            return Survey(StoredRows([stored]), checked, [], checked.problems(part))
        read = read_files(files, see=checked.add)
        problems = read.problems
        if not problems:
            problems = checked.problems(part) if read.rows else [DataProblem(EMPTY)]
        return Survey(read.rows, checked, read.notes, problems)
    # Which rows these leave may depend on how many there are: they are read once more.
    read = read_files(files)
    chosen, problems = select(read.rows, spec)
    problems = read.problems or problems
    if not problems and not read.rows:
        problems = [DataProblem(EMPTY)]
    if not problems:
        for row in chosen:
            checked.add(row)
        problems = checked.problems(part)
    return Survey(chosen, checked, read.notes, problems)
