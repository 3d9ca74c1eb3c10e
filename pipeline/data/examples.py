"""Turns rows into examples: a prompt, the expected answer, and the possible answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any

from pydantic import JsonValue

from pipeline.contract.data_spec import CHAT_DATE, DataSpec
from pipeline.data.chat import ANSWERING, Message, chat_messages, tools_of
from pipeline.data.load import text_of
from pipeline.data.pairs import PAIR_LAYOUTS
from pipeline.data.row_store import Row
from pipeline.data.template import Template
from pipeline.data.tokens import Tokens, token_row

TOOLS = "tools"
"""Column beside chat messages with what the model may call, as others name it too."""


@dataclass(frozen=True)
class Example:
    """One training or evaluation row.

    ``prompt`` holds the turns before the answer (one turn of raw text where ``chat`` is false, none
    where the row is text to continue). ``completion`` is what the model must say next.
    """

    line: int
    """Line of the row in the data file, counted from 1."""
    prompt: tuple[Message, ...]
    completion: str
    chat: bool = True
    label: str | None = None
    choices: Mapping[str, str] = field(default_factory=dict)
    """Completion text per label; empty where the data set has no classes."""
    file: int = 0
    """Number of the file with that line, counted from 0."""
    named_place: str = ""
    """The location of the row, if its file's name is known: ``rows.jsonl:3``."""
    chat_template: str | None = None
    """A chat template to use instead of the tokenizer's own."""
    chat_date: date = CHAT_DATE
    """The date for chat templates that write today's."""
    learn_all: bool = False
    """Whether the prompt carries loss too."""
    tokens: Tokens | None = None
    """The row, if it consists of token ids; then ``prompt`` and ``completion`` are empty."""

    given: tuple[str, ...] = ()
    """If this is no chat and has a prompt: what the row's columns gave to prompt and answer."""
    answer_others: Mapping[str, JsonValue] = field(default_factory=dict)
    """Other keys of the answer's turn (see :class:`Message`)."""
    tools: tuple[JsonValue, ...] = ()
    """What the model may call, for templates that show it."""

    @property
    def text(self) -> str:
        """The text by which rows count as the same question: the prompt, else the completion."""
        if self.tokens is not None:
            begin = self.tokens.answer.start
            return " ".join(map(str, self.tokens.ids[: begin if begin > 1 else None]))
        prompt = self.prompt
        if len(prompt) == 1:
            return prompt[0].content or self.completion
        return "\n".join([turn.content for turn in prompt]) or self.completion

    @property
    def answer(self) -> Message:
        """The turn that is learnt."""
        return Message(ANSWERING, self.completion, self.answer_others, learnt=True)

    @property
    def answer_words(self) -> str:
        """The answer for people: its text, or its token ids."""
        if self.tokens is not None:
            return str(self.tokens.ids)
        return self.answer.words if self.answer_others else self.completion

    @property
    def place(self) -> str:
        """The location of the row, for messages."""
        line = f"line {self.line}" + (f" of file {self.file + 1}" if self.file else "")
        return self.named_place or line


class Choices(Mapping[str, str]):
    """The completion per label; empty where it does not depend on the label. They are rendered when
    they are asked for: training reads none."""

    def __init__(self, labels: Sequence[str], render: Callable[[str], str]) -> None:
        self._labels = labels
        self._render = render

    @cached_property
    def _texts(self) -> dict[str, str]:
        texts = {label: self._render(label) for label in self._labels}
        return texts if len(set(texts.values())) == len(texts) else {}

    def __getitem__(self, label: str) -> str:
        return self._texts[label]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


def make_examples(rows: Sequence[Row], spec: DataSpec) -> list[Example]:
    """Turn rows that :func:`pipeline.data.check.check_rows` passed into examples, in file order."""
    make = example_maker(spec, label_set(rows, spec))
    return [make(row, "") for row in rows]


def example_maker(spec: DataSpec, labels: Sequence[str]) -> Callable[[Row, str], Example]:
    """Return a function from a row and the name of its place to its example.

    ``labels`` are the classes (see :func:`label_set`).
    """
    settings: dict[str, Any] = {
        "chat_template": spec.chat_template,
        "chat_date": spec.chat_date,
        "learn_all": spec.loss_on == "all",
    }
    if spec.tokens:
        return lambda row, place: _from_tokens(row, place, spec, settings)
    if spec.messages is not None:
        column = spec.messages
        return lambda row, place: _from_messages(row, place, column, spec.label, labels, settings)
    render = _renderer(spec)
    columns = _columns(spec)
    label_column, is_chat = spec.label, spec.is_chat
    like = Example(0, (), "", is_chat, **settings)

    def make(row: Row, place: str) -> Example:
        values = {
            name: value if isinstance(value, str) else text_of(value)
            for name, value in row.values.items()
        }
        prompt, completion = render(values)
        label: str | None = None
        choices: Mapping[str, str] = {}
        if label_column is not None:
            label = values[label_column]
            choices = Choices(labels, lambda name: render({**values, label_column: name})[1])
        given = () if is_chat or not prompt else tuple(values.get(name, "") for name in columns)
        return _made(
            like,
            line=row.line,
            prompt=prompt,
            completion=completion,
            label=label,
            choices=choices,
            file=row.file,
            named_place=place,
            given=given,
        )

    return make


def _made(like: Example, **fields: object) -> Example:
    """Return the same as ``dataclasses.replace``, which takes three times as long: it is done for
    every row."""
    example = object.__new__(Example)
    example.__dict__.update(like.__dict__, **fields)
    return example


def _columns(spec: DataSpec) -> tuple[str, ...]:
    """Return the columns of which prompt and answer are made."""
    if spec.pair_format is not None:
        layout = PAIR_LAYOUTS[spec.pair_format]
        return (*layout.columns, *layout.optional)
    texts = (spec.system, spec.prompt, spec.completion, spec.template)
    fields = (Template(text).fields for text in texts if text is not None)
    return tuple(dict.fromkeys(name for names in fields for name in names))


def label_set(rows: Sequence[Row], spec: DataSpec) -> tuple[str, ...]:
    """Return the classes: those listed in the spec, else those in the rows, sorted."""
    if spec.label is None:
        return ()
    if spec.labels is not None:
        return spec.labels
    return tuple(sorted({text_of(row.values[spec.label]) for row in rows}))


def _from_messages(
    row: Row,
    place: str,
    column: str,
    label_column: str | None,
    labels: Sequence[str],
    settings: Mapping[str, Any],
) -> Example:
    turns = chat_messages(row.values[column])
    answer, others = turns[-1].content, turns[-1].others
    label = None if label_column is None else text_of(row.values[label_column])
    # Thoughts before a label would stand before every choice.
    choices = {name: name for name in labels} if answer == label and not others else {}
    return Example(
        row.line,
        turns[:-1],
        answer,
        label=label,
        choices=choices,
        file=row.file,
        named_place=place,
        answer_others=others,
        tools=tools_of(row.values.get(TOOLS)),
        **settings,
    )


def _from_tokens(row: Row, place: str, spec: DataSpec, settings: Mapping[str, Any]) -> Example:
    label = None if spec.label is None else text_of(row.values[spec.label])
    tokens = token_row(row.values, spec.loss_on == "all")
    return Example(
        row.line,
        (),
        "",
        chat=False,
        label=label,
        file=row.file,
        named_place=place,
        tokens=tokens,
        **settings,
    )


def _renderer(spec: DataSpec) -> Callable[[Mapping[str, str]], tuple[tuple[Message, ...], str]]:
    """Return a function from a row's texts to its prompt and completion."""
    if spec.template is not None:
        completion = Template(spec.completion if spec.completion is not None else spec.template)
        before = spec.template[: -len(spec.completion)] if spec.completion else ""
        head = Template(before)

        def render_raw(values: Mapping[str, str]) -> tuple[tuple[Message, ...], str]:
            text = head.render(values)
            return (Message("user", text),) if text else (), completion.render(values)

        return render_raw

    pair = _pair_reader(spec)
    system = None if spec.system is None else Template(spec.system)

    def render_pair(values: Mapping[str, str]) -> tuple[tuple[Message, ...], str]:
        question, answer = pair(values)
        before = () if system is None else (Message("system", system.render(values)),)
        return (*before, Message("user", question)), answer

    return render_pair


def _pair_reader(spec: DataSpec) -> Callable[[Mapping[str, str]], tuple[str, str]]:
    """Return a function from a row's texts to question and answer."""
    if spec.pair_format is not None:
        return PAIR_LAYOUTS[spec.pair_format].read
    question, answer = Template(spec.prompt or ""), Template(spec.completion or "")
    return lambda values: (question.render(values), answer.render(values))
