"""Answers of a model and their scores, the same way for PyTorch and ONNX Runtime.

The ``evaluate`` pass (PyTorch) and the quality check (ONNX Runtime GenAI) both hand an
:class:`Answerer` to :func:`answer` and the result to :func:`score`.

A classifier's choice is its greedy answer if that is one of the labels, else the label with the
highest total log-probability. So a base model that does not know the format of the answers is
measured by the same method as the tuned one, and a model that knows nothing scores at chance.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from pydantic import Field

from pipeline.contract.errors import StepError
from pipeline.contract.frozen import Frozen
from pipeline.contract.step import Reporter
from pipeline.evaluation.fluency import repetition
from pipeline.process.record_log import RecordLog
from pipeline.statistics.paired import share_interval

if TYPE_CHECKING:
    from pipeline.data.examples import Example

ANSWERS_FILE = "answers.json"
"""File that the ``evaluate`` pass writes into its output folder: an :class:`Answers`."""

_LOG = "answers.jsonl"
"""File of the answers that were given so far: batches of them, a line each."""

EXTRA_TOKENS = 8
"""By how many tokens a greedy answer may exceed the longest expected one, so that it is seen
whether it ends."""


class Reply(NamedTuple):
    """A greedy answer."""

    ids: list[int]
    """Its tokens, without the end token."""
    ended: bool
    """Whether the model ended it itself, within the token limit."""


class AskedPrompts(Protocol):
    """Some prompts that a model has read: it can answer each, and continue it, without reading it
    again. Input and output are token ids."""

    @property
    def indices(self) -> Sequence[int]:
        """Return which of all prompts these are, counted from 0."""

    def greedy(self, max_new_tokens: int) -> list[Reply]:
        """Return the greedy answer to each prompt, cut before the first end token."""

    def logprobs(self, continuations: Sequence[Sequence[Sequence[int]]]) -> list[list[list[float]]]:
        """Return ``log p(token | prompt, earlier tokens)`` of each token of each continuation.

        The prompt ``numbers[i]`` is followed by each of ``continuations[i]``. Natural logarithm.
        """


class Answerer(Protocol):
    """A model that answers prompts, each given as token ids."""

    def ask(
        self, prompts: Sequence[Sequence[int]], longest: int, done: Container[int] = ()
    ) -> Iterator[AskedPrompts]:
        """Read ``prompts``, one batch after the other, in any order. Batches are made of all
        prompts; one whose prompts are all ``done``, by their numbers, is left out.

        Answers and continuations have up to ``longest`` tokens. Each batch is to be used before the
        next one is asked for.
        """


class TextCodec(Protocol):
    """Text to token ids and back (:class:`pipeline.data.tokenize.Codec` is the one in use)."""

    def prompt_ids(self, example: Example) -> list[int]:
        """Return the ids of the prompt, up to where the model begins to answer."""

    def completion_ids(self, text: str, example: Example) -> list[int]:
        """Return the ids of an answer to ``example``, its end token included."""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ``ids`` without special tokens."""

    def answer_text(self, ids: Sequence[int], example: Example) -> str:
        """Return the answer to ``example`` that a model gave with ``ids``."""


class Answer(Frozen):
    """A model's answer to one held-out prompt."""

    line: int
    """Line of the row in the data file."""
    file: int = 0
    """Number of the file, counted from 0."""
    expected: str
    """The completion in the data."""
    label: str | None = None
    greedy: str
    """The text of the greedy answer."""
    choice: str | None = None
    """The chosen label; ``None`` if the data set has no classes."""
    valid: bool = False
    """Whether the greedy answer is one of the labels' completions."""
    ended: bool
    """Whether the model ended the greedy answer itself, within :attr:`Answers.max_new_tokens`."""
    length: int = Field(default=0, ge=0)
    """Number of tokens of the greedy answer, without the end token."""
    repetition: float = 0.0
    """The :func:`pipeline.evaluation.fluency.repetition` of the greedy answer, from 0 to 1."""
    logprob: float
    """Total log-probability of the expected completion (with its end token), natural logarithm."""
    tokens: int
    """Number of tokens of that completion."""

    @property
    def is_exact(self) -> bool:
        """Return whether the greedy answer is the expected one, except for outer white space."""
        return self.greedy.strip() == self.expected.strip()


class _Answered(Frozen):
    """A batch of answers, as it is kept while the others are still to come."""

    indices: tuple[int, ...]
    answers: tuple[Answer, ...]


class Answers(Frozen):
    """All answers of one model to the held-out part."""

    labels: tuple[str, ...] = ()
    choices: bool = False
    """Whether the answers are choices among labels."""
    answers: tuple[Answer, ...]
    max_new_tokens: int
    """Token limit of the greedy answers."""

    @property
    def right(self) -> tuple[bool, ...]:
        """Return whether each answer is right: by its choice if there are labels, else if it is
        exactly equal."""
        if self.choices:
            return tuple(row.choice == row.label for row in self.answers)
        return tuple(row.is_exact for row in self.answers)

    @property
    def mean_length(self) -> float:
        """Return the mean number of tokens of the greedy answers, including the end token."""
        tokens = sum(row.length + row.ended for row in self.answers)
        return tokens / len(self.answers)

    def save(self, folder: Path) -> None:
        """Write :data:`ANSWERS_FILE` into ``folder``."""
        (folder / ANSWERS_FILE).write_text(self.model_dump_json(indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, folder: Path) -> Answers:
        """Read :data:`ANSWERS_FILE` from ``folder``."""
        return cls.model_validate_json((folder / ANSWERS_FILE).read_text("utf-8"))

    def to(self, examples: Sequence[Example], whose: str) -> Answers:
        """Return the answers to exactly ``examples``.

        Raises :class:`StepError` if some are missing; ``whose`` names the model in its message.
        """
        rows = {(example.file, example.line) for example in examples}
        answers = tuple(row for row in self.answers if (row.file, row.line) in rows)
        if len(answers) != len(rows):
            raise StepError(
                f"the {whose} model answered {len(answers)} of the {len(rows)} held-out prompts; "
                "the two would not be measured on the same data"
            )
        return self.model_copy(update={"answers": answers})


class Scores(Frozen):
    """The figures of one model on the held-out part. Shares are between 0 and 1."""

    metric: Literal["accuracy", "exact_match"]
    """Accuracy of the choice if there are labels, else the share of exactly equal answers."""
    value: float
    low: float
    """Lower end of the 95 % Wilson interval of ``value``."""
    high: float
    samples: int
    exact: float
    """Share of greedy answers equal to the expected completion, except for outer white space."""
    valid: float | None = None
    """Share of greedy answers that are one of the labels."""
    greedy: float | None = None
    """Accuracy of the greedy answers alone: one that is no label is wrong."""
    perplexity: float
    """``exp`` of the mean negative log-probability per token of the expected completions."""
    macro_f1: float | None = None
    """Mean F1 of the labels that occur as truth or choice."""
    precision: float | None = None
    """Mean precision of these labels."""
    recall: float | None = None
    """Mean recall of these labels."""
    chance: float | None = None
    """Accuracy of guessing: 1 / number of labels."""
    majority: float | None = None
    """Accuracy of always answering the most frequent label of the held-out part."""
    confusion: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Number of answers per true label (outer key) and chosen label (inner key)."""


def answer(
    answerer: Answerer,
    codec: TextCodec,
    examples: Sequence[Example],
    report: Reporter,
    max_new_tokens: int | None = None,
    unfinished: Path | None = None,
) -> Answers:
    """Return the answers of ``answerer`` to all examples.

    ``max_new_tokens`` defaults to :func:`longest_completion`. Each batch of answers is also written
    into the folder ``unfinished``, if there is one; those of an interrupted run are taken over.
    """
    prompts = [codec.prompt_ids(example) for example in examples]
    longest = longest_completion(codec, examples)
    limit = max_new_tokens or longest
    log = RecordLog(_Answered, None if unfinished is None else unfinished / _LOG)
    answers = {
        number: one
        for batch in log.read()
        for number, one in zip(batch.indices, batch.answers, strict=True)
    }
    if answers:
        report.note(f"{len(answers)} of {len(examples)} answers are those of an interrupted run")
    report.progress(
        len(answers), len(examples), "prompts"
    )  # from here on, its speed tells the time left
    for asked in answerer.ask(prompts, max(limit, longest), done=answers.keys()):
        some = [examples[number] for number in asked.indices]
        given = tuple(_answered(asked, codec, some, limit))
        log.add(_Answered(indices=tuple(asked.indices), answers=given))
        answers |= zip(asked.indices, given, strict=True)
        report.progress(len(answers), len(examples), "prompts")
    labels = sorted({name for example in examples for name in example.choices})
    return Answers(
        labels=tuple(labels),
        choices=all(example.choices for example in examples),
        answers=tuple(answers[number] for number in range(len(examples))),
        max_new_tokens=limit,
    )


def greedy(
    answerer: Answerer, prompts: Sequence[Sequence[int]], max_new_tokens: int
) -> Iterator[tuple[int, Reply]]:
    """Yield the number of each prompt, in any order, and the greedy answer to it."""
    for asked in answerer.ask(prompts, max_new_tokens):
        yield from zip(asked.indices, asked.greedy(max_new_tokens), strict=True)


def score(answers: Answers) -> Scores:
    """Return the figures of ``answers``. Raises ``ValueError`` if there are none."""
    rows = answers.answers
    if not rows:
        raise ValueError("no answers to score")
    tokens = sum(row.tokens for row in rows)
    exact = sum(row.is_exact for row in rows)
    perplexity = math.exp(min(-sum(row.logprob for row in rows) / max(tokens, 1), 700.0))
    if not answers.choices:
        low, high = share_interval(exact, len(rows))
        return Scores(
            metric="exact_match",
            value=exact / len(rows),
            low=low,
            high=high,
            samples=len(rows),
            exact=exact / len(rows),
            perplexity=perplexity,
        )
    right = sum(answers.right)
    low, high = share_interval(right, len(rows))
    confusion = _confusion(answers)
    macro = _macro(confusion)
    return Scores(
        metric="accuracy",
        value=right / len(rows),
        low=low,
        high=high,
        samples=len(rows),
        exact=exact / len(rows),
        valid=sum(row.valid for row in rows) / len(rows),
        greedy=sum(row.valid and row.choice == row.label for row in rows) / len(rows),
        perplexity=perplexity,
        macro_f1=macro.f1,
        precision=macro.precision,
        recall=macro.recall,
        chance=1 / len(answers.labels),
        majority=max(Counter(row.label for row in rows).values()) / len(rows),
        confusion=confusion,
    )


def label_of(text: str, example: Example) -> str | None:
    """Return the label whose completion ``text`` is: exactly, or else case and full stop aside,
    where only one label's is."""
    for fold in (str.strip, _folded):
        folded = fold(text)
        alike = [label for label, one in example.choices.items() if folded and fold(one) == folded]
        if len(alike) == 1:
            return alike[0]
    return None


def _answered(
    asked: AskedPrompts, codec: TextCodec, examples: Sequence[Example], limit: int
) -> Iterator[Answer]:
    """Yield the answer to each of ``examples``, whose prompts were ``asked``."""
    replies = asked.greedy(limit)
    texts = [
        codec.answer_text(reply.ids, example)
        for reply, example in zip(replies, examples, strict=True)
    ]
    given = [label_of(text, example) for text, example in zip(texts, examples, strict=True)]
    wanted = [
        _Wanted.of(example, codec, label) for example, label in zip(examples, given, strict=True)
    ]
    scored = asked.logprobs([one.continuations for one in wanted])
    for example, reply, text, label, one, values in zip(
        examples, replies, texts, given, wanted, scored, strict=True
    ):
        expected = values[0]
        yield Answer(
            line=example.line,
            file=example.file,
            expected=_expected(one.continuations[0], codec, example),
            label=example.label,
            greedy=text,
            choice=one.most_probable(values) if label is None else label,
            valid=label is not None,
            ended=reply.ended,
            length=len(reply.ids),
            repetition=repetition(reply.ids),
            logprob=sum(expected),
            tokens=len(expected),
        )


def _expected(ids: Sequence[int], codec: TextCodec, example: Example) -> str:
    """Return the expected answer, whose tokens are ``ids``, as a model's answer is read."""
    if example.completion and not example.answer_others:
        return example.completion
    return codec.answer_text(ids, example)


@dataclass(frozen=True)
class _Wanted:
    """The continuations of one prompt whose log-probabilities are wanted, each once."""

    continuations: list[list[int]]
    """The expected completion comes first."""
    labels: Mapping[str, int]
    """Which of them each label is; empty where the greedy answer is a label already."""

    @classmethod
    def of(cls, example: Example, codec: TextCodec, label: str | None) -> _Wanted:
        """Return those for ``example``, whose greedy answer is ``label``, or none."""
        expected = codec.completion_ids(example.completion, example)
        choices = example.choices if label is None else {}
        ids = {name: codec.completion_ids(text, example) for name, text in choices.items()}
        every = [expected, *(one for one in ids.values() if one != expected)]
        return cls(every, {name: every.index(one) for name, one in ids.items()})

    def most_probable(self, logprobs: Sequence[Sequence[float]]) -> str | None:
        """Return the label whose tokens have the highest total log-probability, the first of
        several; ``None`` without labels."""
        return max(self.labels, key=lambda name: sum(logprobs[self.labels[name]]), default=None)


def longest_completion(codec: TextCodec, examples: Sequence[Example]) -> int:
    """Return the number of tokens of the longest completion among the examples and their choices,
    plus :data:`EXTRA_TOKENS`."""
    texts = {text: example for example in examples for text in example.choices.values()}
    pairs = [*((example.completion, example) for example in examples), *texts.items()]
    longest = max((len(codec.completion_ids(text, example)) for text, example in pairs), default=1)
    return longest + EXTRA_TOKENS


def _confusion(answers: Answers) -> dict[str, dict[str, int]]:
    table = {truth: dict.fromkeys(answers.labels, 0) for truth in answers.labels}
    for row in answers.answers:
        if row.label is not None and row.choice is not None:
            table[row.label][row.choice] += 1
    return table


class _Macro(NamedTuple):
    """Means over labels."""

    f1: float
    precision: float
    recall: float


def _macro(confusion: dict[str, dict[str, int]]) -> _Macro:
    """Return the means over the labels that occur as truth or choice.

    The precision of a label that was never chosen is zero, and so is the recall of one that was
    never the truth.
    """
    rows = []
    for label, row in confusion.items():
        right = row[label]
        predicted = sum(other[label] for other in confusion.values())
        true = sum(row.values())
        if predicted + true:
            rows.append(
                _Macro(
                    2 * right / (predicted + true), right / max(predicted, 1), right / max(true, 1)
                )
            )
    if not rows:
        return _Macro(0.0, 0.0, 0.0)
    return _Macro(*(sum(column) / len(rows) for column in zip(*rows, strict=True)))


def _folded(text: str) -> str:
    return " ".join(text.split()).rstrip(".!").strip().casefold()
