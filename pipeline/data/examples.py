"""What a row becomes: a prompt, the answer to learn, and the answers it could have been."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.data.chat import Message, chat_messages
from pipeline.data.load import Row, text_of
from pipeline.data.spec import DataSpec
from pipeline.data.template import Template


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

    @property
    def text(self) -> str:
        """What makes two rows the same question: the prompt, or the text where there is none."""
        return "\n".join(turn.content for turn in self.prompt) or self.completion


def make_examples(rows: Sequence[Row], spec: DataSpec) -> list[Example]:
    """Turn rows that :func:`pipeline.data.check.check_rows` passed into examples, in file order."""
    labels = label_set(rows, spec)
    if spec.messages is not None:
        return [_from_messages(row, spec.messages, spec.label, labels) for row in rows]
    render = _renderer(spec)
    chat = spec.chat and spec.template is None
    examples = []
    for row in rows:
        values = {name: text_of(value) for name, value in row.values.items()}
        prompt, completion = render(values)
        label, choices = None, dict[str, str]()
        if spec.label is not None:
            label = values[spec.label]
            choices = {name: render({**values, spec.label: name})[1] for name in labels}
        if len(set(choices.values())) < len(choices):
            choices = {}  # the answer does not depend on the label: nothing to choose between
        examples.append(Example(row.line, prompt, completion, chat, label, choices))
    return examples


def label_set(rows: Sequence[Row], spec: DataSpec) -> tuple[str, ...]:
    """Return the classes: those the spec lists, else those found in the rows, sorted."""
    if spec.label is None:
        return ()
    if spec.labels is not None:
        return spec.labels
    return tuple(sorted({text_of(row.values[spec.label]) for row in rows}))


def _from_messages(
    row: Row, column: str, label_column: str | None, labels: Sequence[str]
) -> Example:
    turns = chat_messages(row.values[column])
    answer = turns[-1].content
    label = None if label_column is None else text_of(row.values[label_column])
    choices = {name: name for name in labels} if answer == label else {}
    return Example(row.line, turns[:-1], answer, label=label, choices=choices)


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

    turns = [("system", Template(spec.system))] if spec.system is not None else []
    turns.append(("user", Template(spec.prompt or "")))
    answer = Template(spec.completion or "")

    def render_chat(values: Mapping[str, str]) -> tuple[tuple[Message, ...], str]:
        prompt = tuple(Message(role, template.render(values)) for role, template in turns)
        return prompt, answer.render(values)

    return render_chat
