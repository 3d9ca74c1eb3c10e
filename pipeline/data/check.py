"""What is wrong with a data set, found before anything is started."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import JsonValue

from pipeline.data.chat import chat_messages
from pipeline.data.examples import Example, make_examples
from pipeline.data.load import Row, read_rows, text_of
from pipeline.data.problems import DataProblem, ProblemList
from pipeline.data.spec import DataSpec
from pipeline.data.split import Parts, sample, split
from pipeline.data.template import Template, TemplateError
from pipeline.suggest import did_you_mean

_TEMPLATES = ("system", "prompt", "completion", "template")


def check_file(path: Path, spec: DataSpec) -> list[DataProblem]:
    """Return everything wrong with the data set at ``path`` read by ``spec``."""
    rows, problems = read_rows(path)
    if problems and not rows:
        return problems
    return problems + check_rows(rows, spec)


def check_rows(rows: Sequence[Row], spec: DataSpec) -> list[DataProblem]:
    """Return everything wrong with ``rows`` read by ``spec``; empty means they can be used."""
    if not rows:
        return [DataProblem("the data set is empty")]
    problems = ProblemList()
    for problem in _spec_problems(rows, spec):
        problems.add("problems of the data set's settings", problem)
    if problems.all():
        return problems.all()
    columns = columns_of(spec)
    for row in rows:
        for kind, problem in _row_problems(row, spec, columns):
            problems.add(kind, problem)
    if not problems.all():
        try:
            split(sample(make_examples(rows, spec), spec.max_samples, spec.split.seed), spec.split)
        except ValueError as error:
            problems.add("", DataProblem(str(error), key="split"))
    return problems.all()


def load_parts(path: Path, spec: DataSpec) -> Parts:
    """Return the parts of the data set at ``path``. Raises ``ValueError`` listing what is wrong."""
    rows, problems = read_rows(path)
    problems = problems or check_rows(rows, spec)
    if problems:
        lines = (
            f"line {item.line}: {item.message}" if item.line else item.message for item in problems
        )
        raise ValueError("\n".join(lines))
    return split(chosen_examples(rows, spec), spec.split)


def chosen_examples(rows: Sequence[Row], spec: DataSpec) -> list[Example]:
    """Return the examples of checked ``rows`` that ``max_samples`` leaves."""
    return sample(make_examples(rows, spec), spec.max_samples, spec.split.seed)


def columns_of(spec: DataSpec) -> dict[str, str]:
    """Return the columns ``spec`` reads and the key that names each. Raises ``TemplateError``."""
    columns: dict[str, str] = {}
    for key in _TEMPLATES:
        text = getattr(spec, key)
        if text is not None:
            columns |= dict.fromkeys(Template(text).fields, key)
    for key in ("label", "messages"):
        name = getattr(spec, key)
        if name is not None:
            columns.setdefault(name, key)
    return columns


def _spec_problems(rows: Sequence[Row], spec: DataSpec) -> Iterator[DataProblem]:
    present: dict[str, None] = {}
    for row in rows:
        present.update(dict.fromkeys(row.values))
    fields: dict[str, tuple[str, ...]] = {}
    for key in _TEMPLATES:
        text = getattr(spec, key)
        if text is None:
            continue
        try:
            fields[key] = Template(text).fields
        except TemplateError as error:
            yield DataProblem(str(error), key=key)
            continue
        if key in ("prompt", "completion", "template") and not fields[key]:
            yield DataProblem(
                "uses no column: every row would read the same",
                key=key,
                suggestion=did_you_mean("", present),
            )
        for name in fields[key]:
            if name not in present:
                yield DataProblem(
                    f"no row has the column {name!r}",
                    key=key,
                    suggestion=did_you_mean(name, present),
                )
    for key in ("label", "messages"):
        name = getattr(spec, key)
        if name is not None and name not in present:
            yield DataProblem(
                f"no row has the column {name!r}", key=key, suggestion=did_you_mean(name, present)
            )
    answer = fields.get("completion", ())
    if spec.label in answer and spec.prompt is not None and spec.label in fields.get("prompt", ()):
        yield DataProblem(f"shows the model the answer: it holds {{{spec.label}}}", key="prompt")


def _row_problems(
    row: Row, spec: DataSpec, columns: Iterable[str]
) -> Iterator[tuple[str, DataProblem]]:
    for name in columns:
        if name not in row.values:
            yield (
                "rows without a column they need",
                DataProblem(
                    f"the row has no column {name!r}",
                    row.line,
                    suggestion=did_you_mean(name, row.values),
                ),
            )
        elif name != spec.messages:
            yield from _value_problems(row, name, row.values[name])
    if spec.label is not None and spec.labels is not None and spec.label in row.values:
        label = text_of(row.values[spec.label])
        if label and label not in spec.labels:
            yield (
                "rows with an unknown label",
                DataProblem(
                    f"the label {label!r} is not one of labels",
                    row.line,
                    suggestion=did_you_mean(label, spec.labels),
                ),
            )
    if spec.messages is not None and spec.messages in row.values:
        try:
            chat_messages(row.values[spec.messages])
        except ValueError as error:
            yield "rows with broken messages", DataProblem(str(error), row.line)


def _value_problems(row: Row, name: str, value: JsonValue) -> Iterator[tuple[str, DataProblem]]:
    if isinstance(value, (list, dict)):
        kind = "an array" if isinstance(value, list) else "an object"
        yield (
            "rows whose column is not text",
            DataProblem(f"the column {name!r} holds {kind}, not text", row.line),
        )
    elif not text_of(value).strip():
        yield "rows with an empty column", DataProblem(f"the column {name!r} is empty", row.line)
