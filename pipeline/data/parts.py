"""Loads the parts of a step's data set: training, validation and held-out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import overload

from pipeline.contract.data_files import DataFiles
from pipeline.contract.data_spec import DataSpec
from pipeline.contract.errors import StepError
from pipeline.contract.step import Inputs
from pipeline.data.examples import Example, example_maker
from pipeline.data.facts import Facts
from pipeline.data.problems import DataProblem, named
from pipeline.data.row_store import Picked
from pipeline.data.split import Parts
from pipeline.data.survey import Survey, survey

ReadRows = Callable[[Sequence[Path], DataSpec, bool], Survey]
"""Reads and checks rows (see :func:`pipeline.data.survey.survey`)."""


def parts_of(inputs: Inputs) -> Parts:
    """Return training, validation and held-out part. Raises :class:`StepError` for broken data."""
    if inputs.data is None:
        raise StepError("this step needs a data set", "add a [data.<name>] section", "bad_input")
    return load_parts(inputs.data)


def load_parts(data: DataFiles, read: ReadRows = survey) -> Parts:
    """Return the parts of ``data``, whose examples are made of their rows when they are asked for.

    ``read`` may know what was read before. Raises :class:`StepError` with a list of problems.
    """
    spec = data.spec
    main = _read(data, read)
    held_out_data = None if data.held_out is None else _read(data.held_out, read, part=True)
    validation_data = None if data.validation is None else _read(data.validation, read, part=True)
    try:
        picks = main.survey.checked.divided
    except ValueError as error:
        raise StepError(f"data set {data.name}: {error}", cause="bad_input") from error
    train, validation, held_out = main.some(picks[0]), main.some(picks[1]), main.some(picks[2])
    if held_out_data is not None:
        held_out = held_out_data.all
    if validation_data is not None:
        validation = validation_data.all
    elif spec.split.validation == "eval":
        validation = held_out
    notes = [
        (one.data.files[note.file].name, note)
        for one in (main, held_out_data, validation_data)
        if one is not None
        for note in one.survey.notes
    ]
    return Parts(
        train,
        validation,
        held_out,
        notes=(
            *(f"{name}: {note.message}" for name, note in notes if note.line is None),
            *_note_on(main.survey.checked.unread),
        ),
        swallowed=tuple(f"{name}:{note.line}" for name, note in notes if note.line is not None),
    )


def _note_on(unread: Sequence[str]) -> Iterator[str]:
    if unread:
        yield f"columns that no setting names, so that they are not read: {named(unread)}"


def _read(data: DataFiles, read: ReadRows, part: bool = False) -> StoredExamples:
    found = read(data.files, data.spec, part)
    if found.problems:
        listed = "\n".join(_line(data, problem) for problem in found.problems)
        raise StepError(f"data set {data.name}: {listed}", cause="bad_input")
    return StoredExamples(data, found)


class StoredExamples(Sequence[Example]):
    """The examples of a data set. Each is made of its row when it is asked for."""

    def __init__(self, data: DataFiles, survey: Survey) -> None:
        self.data = data
        self.survey = survey
        self._make = example_maker(data.spec, survey.checked.labels)

    @property
    def facts(self) -> Facts:
        """What was found in each example."""
        return self.survey.checked.facts

    @property
    def all(self) -> Sequence[Example]:
        """The examples that ``max_samples`` leaves."""
        return self.some(self.survey.checked.picks())

    def some(self, picks: Sequence[int]) -> Sequence[Example]:
        """Return the examples at ``picks``."""
        return Picked(self, picks)

    def __len__(self) -> int:
        return len(self.survey.rows)

    @overload
    def __getitem__(self, index: int) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...

    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        if isinstance(index, slice):
            return Picked(self, range(len(self))[index])
        row = self.survey.rows[index]
        return self._make(row, _place(self.data, row.file, row.line))


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
