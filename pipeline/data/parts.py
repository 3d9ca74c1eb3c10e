"""Loads the parts of a step's data set: training, validation and held-out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.contract.data_files import DataFiles
from pipeline.contract.errors import StepError
from pipeline.contract.step import Inputs
from pipeline.data.check import check_rows, examples_of, unread_columns
from pipeline.data.examples import Example
from pipeline.data.load import Note, read_files
from pipeline.data.problems import DataProblem, named
from pipeline.data.split import Parts, split


def parts_of(inputs: Inputs) -> Parts:
    """Return training, validation and held-out part. Raises :class:`StepError` for broken data."""
    if inputs.data is None:
        raise StepError("this step needs a data set", "add a [data.<name>] section", "bad_input")
    return load_parts(inputs.data)


def load_parts(data: DataFiles) -> Parts:
    """Return the parts of ``data``. Raises :class:`StepError` with a list of problems."""
    spec = data.spec
    main = _read(data)
    held_out_data = None if data.held_out is None else _read(data.held_out, part=True)
    validation_data = None if data.validation is None else _read(data.validation, part=True)
    try:
        parts = split(main.examples, spec.own_split)
    except ValueError as error:
        raise StepError(f"data set {data.name}: {error}", cause="bad_input") from error
    held_out = parts.eval if held_out_data is None else held_out_data.examples
    validation = parts.validation
    if validation_data is not None:
        validation = validation_data.examples
    elif spec.split.validation == "eval":
        validation = held_out
    notes = [
        (read.files[note.file].name, note)
        for read in (main, held_out_data, validation_data)
        if read is not None
        for note in read.notes
    ]
    return Parts(
        parts.train,
        validation,
        held_out,
        notes=(
            *(f"{name}: {note.message}" for name, note in notes if note.line is None),
            *main.unread,
        ),
        swallowed=tuple(f"{name}:{note.line}" for name, note in notes if note.line is not None),
    )


@dataclass(frozen=True)
class _Read:
    """The examples of a data set, and how its files were read."""

    examples: list[Example]
    notes: list[Note]
    files: tuple[Path, ...]
    unread: tuple[str, ...]
    """A note on columns that are not read."""


def _read(data: DataFiles, part: bool = False) -> _Read:
    read = read_files(data.files)
    problems = read.problems or check_rows(read.rows, data.spec, part)
    if problems:
        listed = "\n".join(_line(data, problem) for problem in problems)
        raise StepError(f"data set {data.name}: {listed}", cause="bad_input")
    examples = [
        replace(example, named_place=_place(data, example.file, example.line))
        for example in examples_of(read.rows, data.spec)
    ]
    unread = unread_columns(read.rows, data.spec)
    notes = [f"columns that no setting names, so that they are not read: {named(unread)}"]
    return _Read(examples, read.notes, data.files, tuple(notes if unread else ()))


def _line(data: DataFiles, problem: DataProblem) -> str:
    message = f"{problem.key}: {problem.message}" if problem.key else problem.message
    if problem.suggestion:
        message += f" ({problem.suggestion})"
    if problem.line is None:
        return message
    place = f"row {problem.line}" if data.made else _place(data, problem.file, problem.line)
    return f"{place}: {message}"


def _place(data: DataFiles, file: int, line: int) -> str:
    if data.made:
        return f"row {line} of {data.name}"
    name = data.files[file].name
    alike = sum(other.name == name for other in data.files) > 1
    return f"{name}:{line}" + (f" (file {file + 1})" if alike else "")
