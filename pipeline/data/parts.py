"""Loads the parts of a step's data set: training, validation and held-out."""

from __future__ import annotations

from pipeline.contract.data_files import DataFiles
from pipeline.contract.errors import StepError
from pipeline.contract.step import Inputs
from pipeline.data.check import check_rows, examples_of
from pipeline.data.examples import Example
from pipeline.data.load import read_files
from pipeline.data.problems import DataProblem
from pipeline.data.split import Parts, normalized, split


def parts_of(inputs: Inputs) -> Parts:
    """Return training, validation and held-out part. Raises :class:`StepError` for broken data."""
    if inputs.data is None:
        raise StepError("this step needs a data set", "add a [data.<name>] section", "bad_input")
    return load_parts(inputs.data)


def load_parts(data: DataFiles) -> Parts:
    """Return the parts of ``data``. Raises :class:`StepError` with a list of problems."""
    spec = data.spec
    try:
        parts = split(_examples(data), spec.own_split)
    except ValueError as error:
        raise StepError(f"data set {data.name}: {error}", cause="bad_input") from error
    held_out = parts.eval if data.held_out is None else _examples(data.held_out, part=True)
    validation = parts.validation
    if data.validation is not None:
        validation = _examples(data.validation, part=True)
    elif spec.split.validation == "eval":
        validation = held_out
    return Parts(parts.train, validation, held_out)


def leaked_text_count(parts: Parts) -> int:
    """Return the number of held-out rows whose text is in the training part too.

    It is zero if both are parts of one split.
    """
    trained = {normalized(example.text) for example in parts.train}
    return sum(normalized(example.text) in trained for example in parts.eval)


def _examples(data: DataFiles, part: bool = False) -> list[Example]:
    read = read_files(data.files)
    problems = read.problems or check_rows(read.rows, data.spec, part)
    if problems:
        listed = "\n".join(_line(data, problem) for problem in problems)
        raise StepError(f"data set {data.name}: {listed}", cause="bad_input")
    return examples_of(read.rows, data.spec)


def _line(data: DataFiles, problem: DataProblem) -> str:
    message = f"{problem.key}: {problem.message}" if problem.key else problem.message
    if problem.suggestion:
        message += f" ({problem.suggestion})"
    if problem.line is None:
        return message
    if data.made:
        return f"row {problem.line}: {message}"
    return f"{data.files[problem.file].name}:{problem.line}: {message}"
