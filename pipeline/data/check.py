"""Checks the rows of a data set one after the other, before any step runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property

from pydantic import JsonValue

from pipeline.contract.data_spec import MOST_LABELS, DataSpec
from pipeline.contract.suggest import did_you_mean
from pipeline.data.chat import chat_messages, tools_of
from pipeline.data.examples import TOOLS, Example, example_maker, make_examples
from pipeline.data.facts import Facts
from pipeline.data.load import is_blank, text_of
from pipeline.data.normal_form import as_seen
from pipeline.data.pairs import PAIR_LAYOUTS
from pipeline.data.pictures import PICTURE
from pipeline.data.problems import DataProblem, ProblemList
from pipeline.data.row_store import Row
from pipeline.data.select import select
from pipeline.data.split import divide, salts, sample, sampled
from pipeline.data.template import Template, TemplateError
from pipeline.data.tokens import token_row

EMPTY = "the data set is empty"
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
        return [DataProblem(EMPTY)]
    chosen, wrong = select(rows, spec)
    if wrong:
        return wrong
    checked = CheckedRows(spec)
    for row in chosen:
        checked.add(row)
    return checked.problems(part)


def examples_of(rows: Sequence[Row], spec: DataSpec) -> Sequence[Example]:
    """Return the examples of checked ``rows``, selected by ``where``, ``rows`` and ``max_samples``,
    which apply in that order."""
    chosen, _ = select(rows, spec)
    return sample(make_examples(chosen, spec), spec.max_samples, spec.split.seed)


class CheckedRows:
    """What is found in the selected rows of a data set, which are given one after the other."""

    def __init__(self, spec: DataSpec) -> None:
        self._spec = spec
        self._settings = _Settings(spec)
        self._problems = ProblemList()
        self.facts = Facts(spec.split.seed, salts(sampled=spec.max_samples is not None))
        self.shows_tools = False
        """Whether a conversation comes with tools."""
        self._make = example_maker(spec, ()) if self._settings.columns is not None else None

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes: those listed in the spec, else those in the rows, sorted."""
        if self._spec.label is None:
            return ()
        return self._spec.labels or tuple(sorted(self._settings.labels))

    @property
    def unread(self) -> tuple[str, ...]:
        """The columns that no setting names, in the order in which they occur."""
        return unread_columns(self._settings.present, self._spec)

    def add(self, row: Row) -> None:
        """Check the next row."""
        self._settings.add(row)
        columns = self._settings.columns
        if columns is None or self._make is None:
            return
        whole = True
        for kind, problem in _row_problems(row, self._spec, columns):
            self._problems.add(kind, replace(problem, file=row.file))
            whole = False
        if not whole:
            return
        if not self.shows_tools and self._spec.messages is not None:
            self.shows_tools = bool(row.values.get(TOOLS)) and bool(tools_of(row.values[TOOLS]))
        if not self._problems and not self._settings.has_too_many_labels:
            self.facts.add(self._make(row, ""))

    @property
    def is_refused(self) -> bool:
        """Whether anything is wrong with a row."""
        return bool(self._problems)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_make": None}

    def extend(self, other: CheckedRows, lines: int) -> None:
        """Add what was found in the rows that follow in the same file, of which none is refused,
        and ``lines`` lines stand before them."""
        self._settings.extend(other._settings, lines)
        self.facts.extend(other.facts)
        self.shows_tools |= other.shows_tools

    def picks(self) -> Sequence[int]:
        """Return the indices of the rows that ``max_samples`` leaves."""
        return sampled(self.facts, range(len(self.facts)), self._spec.max_samples)

    @cached_property
    def divided(self) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        """The indices of the rows to train on, to validate with, and held out.

        Raises ``ValueError`` if there are too few distinct texts.
        """
        return divide(self.facts, self.picks(), self._spec.own_split)

    def problems(self, part: bool = False) -> list[DataProblem]:
        """Return what is wrong with the settings, else with rows, else with their split."""
        settings = ProblemList()
        for problem in self._settings.problems():
            settings.add("problems of the data set's settings", problem)
        if settings:
            return settings.all()
        if not self._problems and not part:
            try:
                _ = self.divided
            except ValueError as error:
                self._problems.add("", DataProblem(str(error), key="split"))
        return self._problems.all()


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


def unread_columns(present: Iterable[str], spec: DataSpec) -> tuple[str, ...]:
    """Return those of the columns ``present`` that no setting names."""
    read = {*columns_of(spec), *spec.where}
    if spec.messages is not None:
        read.add(TOOLS)
    if spec.pair_format is not None:
        read.update(PAIR_LAYOUTS[spec.pair_format].optional)
    if spec.tokens:
        read.update(("labels", "attention_mask"))
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


class _Settings:
    """What the settings of a data set find in its rows."""

    def __init__(self, spec: DataSpec) -> None:
        self._spec = spec
        self.columns: dict[str, str] | None = None
        """The columns that are read, with the key that names each; ``None`` for a broken one."""
        self._unfilled: set[str] = set()
        """Columns of templates that have been empty in every row."""
        for text in filter(None, (getattr(spec, key) for key in _TEMPLATES)):
            with suppress(TemplateError):
                self._unfilled.update(Template(text).fields)
        with suppress(TemplateError):
            self.columns = columns_of(spec)
        self._rows = 0
        self.present: dict[str, None] = {}
        """The columns in the order in which they occur."""
        self.labels: dict[str, tuple[int, int]] = {}
        """The first labels, one more than there can be, each with its first row."""
        self._other_labels: set[int] = set()
        """Hashes of the others."""

    @property
    def has_too_many_labels(self) -> bool:
        return self._spec.labels is None and len(self.labels) > MOST_LABELS

    def add(self, row: Row) -> None:
        self._rows += 1
        values = row.values
        if not values.keys() <= self.present.keys():
            self.present.update(dict.fromkeys(values))
        if self._unfilled:
            self._unfilled = {n for n in self._unfilled if _is_empty(values.get(n, ""))}
        if self._spec.label is not None:
            label = text_of(values.get(self._spec.label))
            if label not in self.labels:
                self._add_label(label, (row.file, row.line))

    def _add_label(self, label: str, place: tuple[int, int]) -> None:
        if label in self.labels:
            return
        if len(self.labels) <= MOST_LABELS:
            self.labels[label] = place
        else:
            self._other_labels.add(hash(label))

    def extend(self, other: _Settings, lines: int) -> None:
        self._rows += other._rows
        self.present.update(other.present)
        self._unfilled &= other._unfilled
        for label, (file, line) in other.labels.items():
            self._add_label(label, (file, line + lines))
        self._other_labels |= other._other_labels - set(map(hash, self.labels))

    def problems(self) -> Iterator[DataProblem]:
        """Yield what is wrong with the settings, given all rows."""
        spec, present = self._spec, self.present
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
                if name not in present:
                    yield _absent(name, key, present)
                elif self._rows > 1 and name in self._unfilled:
                    yield DataProblem(f"the column {name!r} is empty in every row", key=key)
        for name, key in _named_columns(spec):
            if name not in present:
                yield _absent(name, key, present)
        if spec.label is not None:
            yield from self._label_problems()
        answer = fields.get("completion", ())
        if (
            spec.label in answer
            and spec.prompt is not None
            and spec.label in fields.get("prompt", ())
        ):
            yield DataProblem(
                f"shows the model the answer: it holds {{{spec.label}}}", key="prompt"
            )

    def _label_problems(self) -> Iterator[DataProblem]:
        """Yield that there are too many labels, and those that nobody could tell apart: no answer
        would be counted as the right one."""
        alike: dict[str, dict[str, tuple[int, int] | None]] = defaultdict(dict)
        if self._spec.labels is None:
            if self.has_too_many_labels:
                classes = len(self.labels) + len(self._other_labels)
                message = f"has {classes:,} classes; at most {MOST_LABELS:,} can be"
                yield DataProblem(message, key="label")
            for label, place in self.labels.items():
                alike[as_seen(label)].setdefault(label, place)
        for label in self._spec.labels or ():
            alike[as_seen(label)].setdefault(label, None)
        for labels in alike.values():
            if len(labels) > 1:
                (first, _), (other, found), *_ = labels.items()
                file, line = found or (0, None)
                yield DataProblem(
                    f"the labels {first!r} and {other!r} differ only in white space or in what "
                    "nobody sees of their characters",
                    line,
                    key="" if line else "labels",
                    suggestion="write the same label in the same way",
                    file=file,
                )


def _absent(name: str, key: str, present: Iterable[str]) -> DataProblem:
    message = f"no row has the column {name!r}"
    return DataProblem(message, key=key, suggestion=did_you_mean(name, present))


def _row_problems(
    row: Row, spec: DataSpec, columns: Mapping[str, str]
) -> Iterator[tuple[str, DataProblem]]:
    values = row.values
    for name, key in columns.items():
        if name not in values:
            yield (
                "rows without a column they need",
                DataProblem(
                    f"the row has no column {name!r}",
                    row.line,
                    suggestion=did_you_mean(name, values),
                ),
            )
        elif key not in ("messages", "tokens"):
            value = values[name]
            if not isinstance(value, str) or is_blank(value):
                yield from _value_problems(row, name, value)
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
