"""Scores are what the answers say, for any model behind the interface."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.contract.errors import StepError
from pipeline.data.chat import Message
from pipeline.data.examples import Example
from pipeline.evaluation.scores import Answer, Answers, Reply, answer, label_of, score
from pipeline.statistics.paired import share_interval

LABELS = {"joy": "joy", "fear": "fear"}
END = 0


class Letters:
    """One token per character."""

    def prompt_ids(self, example: Example) -> list[int]:
        return [ord(sign) for sign in example.text]

    def completion_ids(self, text: str, example: Example) -> list[int]:
        assert text in example.choices.values() or text == example.completion
        return [*(ord(sign) for sign in text), END]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))

    def answer_text(self, ids: Sequence[int], example: Example) -> str:
        assert example
        return self.decode(ids)


@dataclass(frozen=True)
class Batch:
    """Prompts that :class:`Scripted` was asked."""

    model: Scripted
    indices: Sequence[int]
    prompts: Sequence[Sequence[int]]

    def greedy(self, max_new_tokens: int) -> list[Reply]:
        said = [self.model.says["".join(map(chr, prompt))] for prompt in self.prompts]
        return [
            Reply([ord(sign) for sign in text][:max_new_tokens], len(text) < max_new_tokens)
            for text in said
        ]

    def logprobs(self, continuations: Sequence[Sequence[Sequence[int]]]) -> list[list[list[float]]]:
        assert len(self.prompts) == len(continuations)
        self.model.asked += sum(map(len, continuations))
        return [[self._logprobs(ids) for ids in several] for several in continuations]

    def _logprobs(self, ids: Sequence[int]) -> list[float]:
        text = "".join(map(chr, ids[:-1]))
        return [self.model.values[text] / len(ids)] * len(ids)


class Scripted:
    """Says a fixed text per prompt, and gives each continuation a fixed log-probability.

    It reads three prompts at a time, the last ones first.
    """

    def __init__(self, says: dict[str, str], logprobs: dict[str, float]) -> None:
        self.says = says
        self.values = logprobs
        self.asked = 0

    def ask(
        self, prompts: Sequence[Sequence[int]], longest: int, done: Container[int] = ()
    ) -> Iterator[Batch]:
        assert longest > max(map(len, self.values))
        numbers = list(range(len(prompts)))[::-1]
        for start in range(0, len(prompts), 3):
            some = numbers[start : start + 3]
            if all(number in done for number in some):
                continue
            yield Batch(self, some, [prompts[number] for number in some])


class Silent:
    def __init__(self) -> None:
        self.done: list[int] = []
        self.notes: list[str] = []

    def progress(self, done: int, total: int, unit: str = "steps", **metrics: float) -> None:
        assert unit == "prompts"
        assert not metrics
        self.done.append(done)
        assert done <= total

    def warn(self, message: str) -> None:
        raise AssertionError(message)

    def note(self, message: str) -> None:
        self.notes.append(message)

    def text(self, text: str) -> None:
        raise AssertionError(text)


def example(text: str, label: str) -> Example:
    return Example(1, (Message("user", text),), label, label=label, choices=LABELS)


def test_a_said_label_counts_and_another_answer_goes_by_likelihood() -> None:
    model = Scripted(
        {"a": "joy", "b": " Fear.", "c": "the weather", "d": "joyful times"},
        {"joy": -1.0, "fear": -3.0},
    )
    report = Silent()
    rows = [example("a", "joy"), example("b", "fear"), example("c", "joy"), example("d", "fear")]
    answers = answer(model, Letters(), rows, report)
    assert [item.choice for item in answers.answers] == ["joy", "fear", "joy", "joy"]
    assert [item.valid for item in answers.answers] == [True, True, False, False]
    assert report.done == [0, 3, 4]
    assert model.asked == 4 + 2  # the other label of those that said none
    scores = score(answers)
    assert (scores.metric, scores.value, scores.valid, scores.exact) == (
        "accuracy",
        0.75,
        0.5,
        0.25,
    )
    assert scores.chance == 0.5
    assert scores.majority == 0.5
    assert scores.confusion == {"fear": {"fear": 1, "joy": 1}, "joy": {"fear": 0, "joy": 2}}
    # F1 of fear 2/3 (precision 1, recall 1/2), of joy 4/5 (precision 2/3, recall 1).
    assert scores.macro_f1 == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert scores.precision == pytest.approx((1 + 2 / 3) / 2)
    assert scores.recall == pytest.approx((1 / 2 + 1) / 2)
    # Four completions cost 1 + 3 + 1 + 3 nats over 4 + 5 + 4 + 5 tokens.
    assert scores.perplexity == pytest.approx(math.exp(8 / 18))


def test_an_interrupted_run_asks_no_prompt_again(tmp_path: Path) -> None:
    says = dict.fromkeys("abcdefgh", "joy")
    rows = [example(letter, "joy") for letter in says]
    logprobs = {"joy": -1.0, "fear": -3.0}
    right = answer(Scripted(says, logprobs), Letters(), rows, Silent())
    del says["a"], says["b"]  # the last batch
    with pytest.raises(KeyError):
        answer(Scripted(says, logprobs), Letters(), rows, Silent(), unfinished=tmp_path)
    (log,) = tmp_path.iterdir()
    with log.open("a") as file:
        file.write('{"indices": [3')  # the process was killed here
    report = Silent()
    says = dict.fromkeys("ab", "joy")
    found = answer(Scripted(says, logprobs), Letters(), rows, report, unfinished=tmp_path)
    assert found == right
    assert report.notes == ["6 of 8 answers are those of an interrupted run"]
    assert report.done == [6, 8]
    report = Silent()
    again = answer(Scripted({}, logprobs), Letters(), rows, report, unfinished=tmp_path)
    assert (again, report.done) == (right, [8])


def test_an_answer_that_runs_on_is_not_the_label() -> None:
    model = Scripted({"a": "joy" * 20}, {"joy": -1.0, "fear": -2.0})
    answers = answer(model, Letters(), [example("a", "joy")], Silent())
    (only,) = answers.answers
    assert len(only.greedy) == len("fear") + 1 + 8 == answers.max_new_tokens
    assert (only.choice, only.valid, only.ended) == ("joy", False, False)
    assert answer(model, Letters(), [example("a", "joy")], Silent(), 61).answers[0].ended


def test_a_label_that_is_never_chosen_has_no_precision() -> None:
    model = Scripted({"a": "joy", "b": "joy"}, {"joy": -1.0, "fear": -3.0})
    rows = [example("a", "joy"), example("b", "fear")]
    scores = score(answer(model, Letters(), rows, Silent()))
    assert (scores.precision, scores.recall) == (0.25, 0.5)


def test_answers_to_other_prompts_are_no_comparison() -> None:
    rows = [Example(n, (Message("user", text),), "yes") for n, text in enumerate("abc")]
    model = Scripted({"a": "yes", "b": "no", "c": "no"}, {"yes": -4.0})
    answers = answer(model, Letters(), rows[:2], Silent())
    assert [row.line for row in answers.to(rows[1:2], "tuned").answers] == [1]
    with pytest.raises(StepError, match="the tuned model answered 1 of the 2 held-out prompts"):
        answers.to(rows[1:], "tuned")


def test_an_ignorant_model_lands_at_chance() -> None:
    rows = [example(f"{n}", ("joy", "fear")[n % 2]) for n in range(40)]
    model = Scripted({f"{n}": "blah" for n in range(40)}, {"joy": -2.0, "fear": -1.0})
    assert score(answer(model, Letters(), rows, Silent())).value == 0.5


def test_without_labels_the_text_must_be_equal() -> None:
    rows = [Example(n, (Message("user", text),), "yes") for n, text in enumerate("ab")]
    model = Scripted({"a": " yes\n", "b": "Yes"}, {"yes": -4.0})
    scores = score(answer(model, Letters(), rows, Silent()))
    assert (scores.metric, scores.value) == ("exact_match", 0.5)
    assert scores.perplexity == pytest.approx(math.e)
    assert scores.valid is None
    assert scores.chance is None


def test_answers_come_back_from_the_file(tmp_path: Path) -> None:
    row = Answer(
        line=3, expected="joy", label="joy", greedy="x\u2028", ended=True, logprob=-1.5, tokens=2
    )
    answers = Answers(labels=("joy",), answers=(row,), max_new_tokens=9)
    answers.save(tmp_path)
    assert Answers.load(tmp_path) == answers


def test_no_answers_have_no_score() -> None:
    with pytest.raises(ValueError, match="no answers"):
        score(Answers(answers=(), max_new_tokens=9))


def test_a_hopeless_model_has_a_finite_perplexity() -> None:
    row = Answer(line=1, expected="x", greedy="", ended=True, logprob=-1e9, tokens=1)
    assert math.isfinite(score(Answers(answers=(row,), max_new_tokens=9)).perplexity)


@pytest.mark.parametrize(
    ("right", "trials", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (45, 50, 0.7864, 0.9565), (0, 0, 0.0, 1.0)],
)
def test_wilson_interval(right: int, trials: int, low: float, high: float) -> None:
    # Values of R's binom::binom.wilson.
    assert share_interval(right, trials) == pytest.approx((low, high), abs=1e-4)


def test_label_of_a_text() -> None:
    row = Example(1, (), "x", choices={"a": "It is A.", "b": "It is B."})
    assert label_of(" it  is a", row) == "a"
    assert label_of("It is C.", row) is None


def test_labels_that_differ_in_punctuation_alone_are_told_apart() -> None:
    choices = {"statement": ".", "question": "?", "exclamation": "!"}
    example = Example(1, (Message("user", "p"),), "?", label="question", choices=choices)
    assert [label_of(text, example) for text in (".", "?", " ! ")] == [*choices]
    assert label_of("", example) is None


def test_a_perfect_model_is_right_whatever_the_labels_differ_in() -> None:
    # Where case, full stop and exclamation mark are folded, four of these are taken for another:
    # 63.6 % instead of all.
    labels = (".", "!", "?", "US", "us", "yes", "yes.", "no", "No", "joy", "fear")
    choices = {name: name for name in labels}
    rows = [
        Example(line, (Message("user", name),), name, label=name, choices=choices)
        for line, name in enumerate(labels, 1)
    ]
    model = Scripted(choices, dict.fromkeys(labels, -1.0))
    scores = score(answer(model, Letters(), rows, Silent()))
    assert (scores.samples, scores.value, scores.valid) == (11, 1.0, 1.0)


def test_case_and_full_stop_count_where_labels_differ_in_them() -> None:
    example = Example(1, (Message("user", "p"),), "us", choices={"we": "us", "country": "US"})
    assert [label_of(text, example) for text in ("us", "US")] == ["we", "country"]
    assert label_of("Us.", example) is None
