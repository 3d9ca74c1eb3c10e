"""Checks the rows of a data set, before any step runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pydantic import JsonValue

from pipeline.contract.data_spec import MOST_LABELS, DataSpec
from pipeline.contract.suggest import did_you_mean
from pipeline.data.chat import chat_messages, tools_of
from pipeline.data.examples import TOOLS, Example, make_examples
from pipeline.data.load import Row, is_blank, text_of
from pipeline.data.pairs import PAIR_LAYOUTS
from pipeline.data.pictures import PICTURE
from pipeline.data.problems import DataProblem, ProblemList
from pipeline.data.select import select
from pipeline.data.split import as_seen, sample, split
from pipeline.data.template import Template, TemplateError
from pipeline.data.tokens import token_row

_TEMPLATES = ("system", "prompt", "completion", "template")
_BESIDE_MESSAGES = (
    *("functions", "documents", "parallel_tool_calls", "chat_template_kwargs"),
    *("system", "images", "videos", "audios"),
)
"""Columns that others hand to a chat template together with the messages and ``tools``."""
_BESIDE_PAIRS = ("system", "history", "tools", "images", "videos", "audios")
"""Columns that others show to a model together with a known layout of question and answer."""


def check_rows(rows: Sequence[Row], spec: DataSpec, part: bool = False) -> list[DataProblem]:
    """Return all problems of ``rows`` read by ``spec``; empty if they can be used.

    ``part`` says that they serve as a part of another data set, so that they are not split.
    """
    if not rows:
        return [DataProblem("the data set is empty")]
    chosen, wrong = select(rows, spec)
    if wrong:
        return wrong
    problems = ProblemList()
    for problem in _spec_problems(chosen, spec):
        problems.add("problems of the data set's settings", problem)
    if problems.all():
        return problems.all()
    columns = columns_of(spec)
    for row in chosen:
        for kind, problem in _row_problems(row, spec, columns):
            problems.add(kind, replace(problem, file=row.file))
    if not problems.all() and not part:
        try:
            split(examples_of(rows, spec), spec.own_split)
        except ValueError as error:
            problems.add("", DataProblem(str(error), key="split"))
    return problems.all()


def examples_of(rows: Sequence[Row], spec: DataSpec) -> list[Example]:
    """Return the examples of checked ``rows``, selected by ``where``, ``rows`` and ``max_samples``,
    which apply in that order."""
    chosen, _ = select(rows, spec)
    return sample(make_examples(chosen, spec), spec.max_samples, spec.split.seed)


def columns_of(spec: DataSpec) -> dict[str, str]:
    """Return the columns that ``spec`` reads, each with the key that names it.

    Raises ``TemplateError``.
    """
    columns: dict[str, str] = {}
    for key in _TEMPLATES:
        text = getattr(spec, key)
        if text is not None:
            columns |= dict.fromkeys(Template(text).fields, key)
    for name, key in _named_columns(spec):
        columns.setdefault(name, key)
    return columns


def unread_columns(rows: Sequence[Row], spec: DataSpec) -> tuple[str, ...]:
    """Return the columns that no setting names, in the order in which they occur."""
    read = {*columns_of(spec), *spec.where}
    if spec.messages is not None:
        read.add(TOOLS)
    if spec.pair_format is not None:
        read.update(PAIR_LAYOUTS[spec.pair_format].optional)
    if spec.tokens:
        read.update(("labels", "attention_mask"))
    present = dict.fromkeys(name for row in rows for name in row.values)
    return tuple(name for name in present if name not in read)


def _named_columns(spec: DataSpec) -> Iterator[tuple[str, str]]:
    """Yield the columns that are read without a template, each with the key that names it."""
    if spec.label is not None:
        yield spec.label, "label"
    if spec.messages is not None:
        yield spec.messages, "messages"
    if spec.pair_format is not None:
        yield from ((name, "pair_format") for name in PAIR_LAYOUTS[spec.pair_format].columns)
    if spec.tokens:
        yield "input_ids", "tokens"


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
        if picture := PICTURE.search(text):
            yield DataProblem(
                f"holds {picture[0]}, which stands for a picture: the model would see none",
                key=key,
                suggestion="leave it out; only text is read",
            )
        if key in ("prompt", "completion", "template") and not fields[key]:
            yield DataProblem(
                "uses no column: every row would read the same",
                key=key,
                suggestion=did_you_mean("", present),
            )
        for name in fields[key]:
            if (
                name in present
                and len(rows) > 1
                and all(_is_empty(row.values.get(name, "")) for row in rows)
            ):
                yield DataProblem(f"the column {name!r} is empty in every row", key=key)
            if name not in present:
                yield DataProblem(
                    f"no row has the column {name!r}",
                    key=key,
                    suggestion=did_you_mean(name, present),
                )
    for name, key in _named_columns(spec):
        if name not in present:
            yield DataProblem(
                f"no row has the column {name!r}", key=key, suggestion=did_you_mean(name, present)
            )
    if spec.label is not None and spec.labels is None:
        classes = len({text_of(row.values.get(spec.label)) for row in rows})
        if classes > MOST_LABELS:
            yield DataProblem(
                f"has {classes:,} classes; at most {MOST_LABELS:,} can be", key="label"
            )
    if spec.label is not None:
        yield from _label_problems(rows, spec, spec.label)
    answer = fields.get("completion", ())
    if spec.label in answer and spec.prompt is not None and spec.label in fields.get("prompt", ()):
        yield DataProblem(f"shows the model the answer: it holds {{{spec.label}}}", key="prompt")


def _label_problems(rows: Sequence[Row], spec: DataSpec, column: str) -> Iterator[DataProblem]:
    """Yield labels that nobody could tell apart: no answer would be counted as the right one."""
    alike: dict[str, dict[str, int | None]] = defaultdict(dict)
    for label in spec.labels or ():
        alike[as_seen(label)].setdefault(label, None)
    for row in rows if spec.labels is None else ():
        label = text_of(row.values.get(column))
        alike[as_seen(label)].setdefault(label, row.line)
    for labels in alike.values():
        if len(labels) > 1:
            (first, _), (other, line), *_ = labels.items()
            yield DataProblem(
                f"the labels {first!r} and {other!r} differ only in white space or in what nobody "
                "sees of their characters",
                line,
                key="" if line else "labels",
                suggestion="write the same label in the same way",
            )


def _row_problems(
    row: Row, spec: DataSpec, columns: Mapping[str, str]
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
        elif columns[name] not in ("messages", "tokens"):
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
    try:
        if spec.messages is not None and spec.messages in row.values:
            chat_messages(row.values[spec.messages])
            tools_of(row.values.get(TOOLS))
            _require_none(row, _BESIDE_MESSAGES, "messages and tools")
        if spec.tokens and "input_ids" in row.values:
            token_row(row.values, spec.loss_on == "all")
        if spec.pair_format is not None:
            layout = PAIR_LAYOUTS[spec.pair_format]
            shown = (*layout.columns, *layout.optional)
            _require_none(row, sorted({*_BESIDE_PAIRS} - {*columns}), ", ".join(shown))
            if all(text_of(row.values.get(name)).strip() for name in layout.columns):
                layout.read({name: text_of(value) for name, value in row.values.items()})
    except ValueError as error:
        yield "rows with broken messages, pairs or tokens", DataProblem(str(error), row.line)


def _require_none(row: Row, names: Sequence[str], shown: str) -> None:
    """Raise ``ValueError`` where the row has values in some of the columns ``names``."""
    held = [
        repr(name)
        for name in names
        if (value := row.values.get(name)) and not (isinstance(value, str) and is_blank(value))
    ]
    if held:
        columns = f"column {held[0]}" if len(held) == 1 else f"columns {', '.join(held)}"
        raise ValueError(f"the {columns} would not be shown to the model: only {shown} are")


def _value_problems(row: Row, name: str, value: JsonValue) -> Iterator[tuple[str, DataProblem]]:
    if isinstance(value, (list, dict)):
        kind = "an array" if isinstance(value, list) else "an object"
        yield (
            "rows whose column is not text",
            DataProblem(f"the column {name!r} holds {kind}, not text", row.line),
        )
    elif _is_empty(value):
        yield "rows with an empty column", DataProblem(f"the column {name!r} is empty", row.line)


def _is_empty(value: JsonValue) -> bool:
    return not isinstance(value, (list, dict)) and is_blank(text_of(value))
