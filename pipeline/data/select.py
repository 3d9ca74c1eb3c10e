"""Selects the rows of a data set by ``where`` and ``rows``."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydantic import JsonValue

from pipeline.contract.data_spec import DataSpec
from pipeline.contract.suggest import did_you_mean
from pipeline.data.load import text_of
from pipeline.data.problems import DataProblem, ProblemList
from pipeline.data.row_store import Picked, Row


def select(rows: Sequence[Row], spec: DataSpec) -> tuple[Sequence[Row], list[DataProblem]]:
    """Return the rows selected by ``where`` and then ``rows``, in order, and any problems."""
    problems = ProblemList()
    picks: Sequence[int] = range(len(rows))
    if spec.where:
        picks = array("Q", _with_values(rows, spec.where, problems))
    if problems:
        return Picked(rows, picks), problems.all()
    if rows and not picks:
        problems.add("", DataProblem("no row has these values", key="where"))
    elif spec.rows is not None:
        start, stop = bounds(spec.rows, len(picks))
        selected = picks[start:stop]
        if picks and not selected:
            message = f"leaves none of the {len(picks)} rows"
            problems.add("", DataProblem(message, key="rows"))
        picks = selected
    return Picked(rows, picks), problems.all()


def _with_values(
    rows: Iterable[Row], where: Mapping[str, JsonValue], problems: ProblemList
) -> Iterator[int]:
    """Yield the indices of the rows that have the values of ``where``."""
    for index, row in enumerate(rows):
        missing = [name for name in where if name not in row.values]
        for name in missing:
            problems.add(
                "rows without a column that where needs",
                DataProblem(
                    f"the row has no column {name!r}, which where needs",
                    row.line,
                    suggestion=did_you_mean(name, row.values),
                    file=row.file,
                ),
            )
        if not missing and all(_equal(row.values[k], v) for k, v in where.items()):
            yield index


def bounds(text: str, count: int) -> tuple[int, int]:
    """Return the first row of a slice such as ``":1000"`` or ``"10%:20%"``, and the one after it.

    Percents of ``count`` rows are rounded to the nearest row.
    """
    start, _, stop = text.partition(":")
    return _row_number(start, count, 0), _row_number(stop, count, count)


def _row_number(text: str, count: int, default: int) -> int:
    if not text:
        return default
    if text.endswith("%"):
        return (count * int(text[:-1]) + 50) // 100
    return int(text)


def _equal(value: JsonValue, expected: JsonValue) -> bool:
    """Return whether ``value`` equals ``expected``, or its text does, since CSV holds text only."""
    if isinstance(value, bool) or isinstance(expected, bool):
        return text_of(value) == text_of(expected)
    return value == expected or text_of(value) == text_of(expected)
