"""Makes the rows of a data set that the host cannot read: from the hub, from Parquet files, or by
the user's functions."""

from __future__ import annotations

import inspect
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from pydantic import Field, JsonValue

from pipeline.contract.data_files import ROWS_FILE
from pipeline.contract.data_spec import PARQUET
from pipeline.contract.errors import StepError
from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs, Reporter
from pipeline.data.hub import FETCHED_FILE, first_line
from pipeline.passes.base import BasePass
from pipeline.scripts.importable import importable
from pipeline.scripts.load import find_object, load_script

MODEL = "model"
FETCHED = "fetched"
"""Role of the output of the ``fetch_rows`` pass."""
FILE = "file-{}"
"""Role of a file to read, counted from 0."""


class RowsParams(Frozen):
    """How the rows are made; their source is an input."""

    files: int = 0
    """How many files are read."""
    script: str | None = None
    """Python file with the functions below."""
    script_dir: str | None = None
    load: str | None = None
    load_params: dict[str, JsonValue] = Field(default_factory=dict)
    columns: dict[str, str] = Field(default_factory=dict)
    pre_process: str | None = None
    pre_process_params: dict[str, JsonValue] = Field(default_factory=dict)


class Pass(BasePass[RowsParams]):
    """Load rows, apply the user's functions to them, and write them as JSON Lines."""

    Params = RowsParams
    produces: ClassVar[Kind] = "rows"
    sources: ClassVar[tuple[str, ...]] = ("script", "script_dir")

    def run(self, inputs: Inputs, params: RowsParams, out_dir: Path) -> dict[str, JsonValue]:
        """Write ``rows.jsonl``; return the number of its rows and its columns."""
        with importable(inputs.paths.get("script_dir")):
            return make_rows(inputs, params, out_dir)


def make_rows(inputs: Inputs, params: RowsParams, out_dir: Path) -> dict[str, JsonValue]:
    """Write :data:`ROWS_FILE`; return the number of its rows and its columns.

    Raises :class:`StepError` if a function fails or returns something unsuitable, or if a row holds
    values that are neither text nor numbers.
    """
    module = None
    if params.script is not None:
        module = load_script(inputs["script"])
    rows = _loaded(inputs, params, module)
    if module is not None and params.columns:
        rows = _with_columns(rows, params.columns, module)
    if module is not None and params.pre_process is not None:
        rows = _pre_processed(rows, params, module, inputs)
    columns: dict[str, None] = {}
    count = 0
    with (out_dir / ROWS_FILE).open("w", encoding="utf-8", newline="\n") as file:
        of_arrow = FETCHED in inputs.paths or params.pre_process is not None
        for count, row in enumerate(_each(rows), start=1):
            values = _values(_fields_given(row) if of_arrow else row, count)
            columns.update(dict.fromkeys(values))
            file.write(json.dumps(values, ensure_ascii=False) + "\n")
    if not count:
        raise StepError("there are no rows", cause="bad_input")
    return {"rows": count, "columns": list(columns)}


def _loaded(inputs: Inputs, params: RowsParams, module: ModuleType | None) -> Any:
    """Return the rows of the source, unchanged."""
    if FETCHED in inputs.paths:
        return _fetched(inputs[FETCHED])
    if module is not None and params.load is not None:
        return _call(find_object(module, params.load), (), params.load_params, "code.load_params")
    paths = [inputs[FILE.format(number)] for number in range(params.files)]
    return [row for path in paths for row in _of_file(path, inputs.report)]


def _fetched(folder: Path) -> Any:
    """Return the output of the ``fetch_rows`` pass as a ``datasets.Dataset``, because the user's
    functions may use its features."""
    import datasets

    return datasets.Dataset.from_parquet(str(folder / FETCHED_FILE), cache_dir=tempfile.mkdtemp())


def _fields_given(row: Any) -> Any:
    """Return a row of Arrow's without fields that are null within its values: Arrow gives each
    value the fields of all rows, so that a call of one tool has the arguments of others."""

    def given(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: given(item) for name, item in value.items() if item is not None}
        return [given(item) for item in value] if isinstance(value, list) else value

    return {name: given(of) for name, of in row.items()} if isinstance(row, Mapping) else row


def _of_file(path: Path, report: Reporter) -> Iterator[Mapping[str, Any]]:
    if path.suffix.lower() == PARQUET:
        yield from _of_parquet(path)
        return
    from pipeline.data.load import read_file

    read = read_file(path)
    if read.problems:
        listed = "; ".join(f"line {item.line}: {item.message}" for item in read.problems)
        raise StepError(f"{path.name}: {listed}", cause="bad_input")
    for note in read.notes:
        if note.line is None:
            report.note(f"{path.name}: {note.message}")
        else:
            report.warn(f"{path.name}:{note.line}: {note.message}")
    yield from (row.values for row in read.rows)


def _of_parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield from map(_fields_given, batch.to_pylist())
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        message = f"{path.name} is not a Parquet file that can be read: {first_line(error)}"
        raise StepError(message, cause="bad_input") from error


def _with_columns(rows: Any, columns: Mapping[str, str], module: ModuleType) -> list[Any]:
    """Return the rows with new columns, each computed from the row as it was loaded."""
    functions = {name: find_object(module, function) for name, function in columns.items()}
    made = []
    for number, row in enumerate(_each(rows), start=1):
        if not isinstance(row, Mapping):
            raise _no_row(row, number)
        new = {}
        for name, function in functions.items():
            try:
                new[name] = function(dict(row))
            except Exception as error:  # whatever a user's code raises
                raise StepError(
                    f"row {number}: the function of the column '{name}' raised "
                    f"{type(error).__name__}: {error}",
                    cause="bad_input",
                ) from error
        made.append({**row, **new})
    return made


def _pre_processed(rows: Any, params: RowsParams, module: ModuleType, inputs: Inputs) -> Any:
    function = find_object(module, str(params.pre_process))
    arguments: dict[str, Any] = dict(params.pre_process_params)
    takes = _parameters(function)
    if "model_name" in takes or "model_name" in arguments:
        arguments["model_name"] = str(inputs[MODEL])
    if "tokenizer" in takes and "tokenizer" not in arguments:
        from pipeline.data.tokenizer import load_tokenizer

        arguments["tokenizer"] = load_tokenizer(inputs[MODEL])
    if isinstance(rows, list) and (params.load is None or params.columns):
        from datasets import (
            Dataset,  # the type that load_dataset returns, which such functions expect
        )

        rows = Dataset.from_list([dict(row) for row in rows])
    return _call(function, (rows,), arguments, "code.pre_process_params")


def _call(
    function: Callable[..., Any], rows: tuple[Any, ...], arguments: Mapping[str, Any], key: str
) -> Any:
    """Return ``function(*rows, **given)``. Raises :class:`StepError` for unknown or missing
    arguments, and for any error of the function."""
    name = getattr(function, "__name__", str(function))
    takes = _parameters(function)
    open_ended = any(item.kind is item.VAR_KEYWORD for item in takes.values())
    unknown = [] if open_ended else sorted(arguments.keys() - takes.keys())
    if unknown:
        known = f"it takes: {', '.join(takes)}" if takes else "it takes none"
        problem = f"{name} does not take {', '.join(unknown)} ({key})"
        raise StepError(problem, known, "bad_input")
    try:
        inspect.signature(function).bind(*rows, **arguments)
    except TypeError as error:
        hint = f"set them in {key}"
        raise StepError(f"{name} cannot be called: {error}", hint, "bad_input") from error
    try:
        return function(*rows, **arguments)
    except StepError:
        raise
    except Exception as error:  # whatever a user's code raises
        message = f"{name} raised {type(error).__name__}: {error}"
        raise StepError(message, cause="bad_input") from error


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    if not callable(function):
        raise StepError(f"{function!r} is not a function", cause="bad_input")
    return inspect.signature(function).parameters


def _each(rows: Any) -> Iterable[Any]:
    """Return ``rows`` as something to iterate; PyTorch data sets have only length and index."""
    if hasattr(rows, "__iter__"):
        return rows  # type: ignore[no-any-return]
    if hasattr(rows, "__len__") and hasattr(rows, "__getitem__"):
        return (rows[index] for index in range(len(rows)))
    kind = type(rows).__name__
    raise StepError(f"rows must be a sequence of dictionaries, not {kind}", cause="bad_input")


def _values(row: Any, number: int) -> dict[str, JsonValue]:
    from pipeline.data.jsonable import jsonable

    if not isinstance(row, Mapping):
        raise _no_row(row, number)
    values: dict[str, JsonValue] = {}
    for name, value in row.items():
        try:
            values[str(name)] = jsonable(value)
        except ValueError as error:
            raise StepError(
                f"row {number}: the column '{name}' holds {error}",
                "leave the column out in a function of yours",
                "bad_input",
            ) from error
    return values


def _no_row(row: Any, number: int) -> StepError:
    kind = type(row).__name__
    return StepError(f"row {number} is {kind}, not a dictionary of columns", cause="bad_input")
