"""The verdicts of a report with the question that each answers, and whose limit it has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from pydantic import JsonValue

from pipeline.contract.result import Verdict
from targets.report.check_words import (
    QUESTIONS,
    CheckWords,
    check_types_with_words,
    find_words,
)
from targets.report.report_schema import CheckVerdict, PassReport, Report

_OWN_QUESTION = "own"


@dataclass(frozen=True)
class Judged:
    """A verdict, and what is known of it."""

    verdict: Verdict
    question: str
    """One of :data:`~targets.report.check_words.QUESTIONS`."""
    words: CheckWords | None
    """``None`` for what a check of the user's own gives."""
    set_by_config: bool
    """Whether its limit stands in the config."""


@dataclass(frozen=True)
class Answered:
    """A question, and the verdicts that answer it."""

    question: str
    """In words: ``as good?``."""
    judged: tuple[Judged, ...]

    @property
    def holding(self) -> int:
        """Return how many of the proofs hold."""
        return sum(one.verdict.status == "passed" for one in self.judged)

    @property
    def status(self) -> str:
        """Return the worst status."""
        found = {one.verdict.status for one in self.judged}
        return next((one for one in ("failed", "unverified") if one in found), "passed")


def judge(report: Report) -> tuple[Judged, ...]:
    """Return all verdicts of ``report``, in their order."""
    return tuple(_judged(report))


def answer_questions(judged: Sequence[Judged]) -> tuple[Answered, ...]:
    """Return each question to which ``judged`` has an answer."""
    return tuple(
        Answered(words, found)
        for question, words in QUESTIONS.items()
        if (found := tuple(one for one in judged if one.question == question))
    )


def _judged(report: Report) -> Iterator[Judged]:
    checks = [step for step in report.passes if step.kind == "check"]
    given: set[tuple[str, str]] = set()
    for verdict in report.checks:
        step = next((step for step in checks if _is_of(verdict, step, given)), None)
        if step is not None:
            given.add((step.name, verdict.name))
        name = verdict.name_in_check if verdict.check else verdict.name.rpartition(".")[2]
        words = find_words(name, None if step is None else step.type)
        yield Judged(
            verdict,
            words.question if words else _OWN_QUESTION,
            words,
            step is not None and _is_set(step, name, words),
        )


def _is_of(verdict: CheckVerdict, step: PassReport, given: Set[tuple[str, str]]) -> bool:
    """Return whether the check ``step`` gave the verdict. Where an earlier version did not say
    whose it is, its name tells, and that the check has ``given`` each of its verdicts once."""
    if verdict.check:
        return verdict.check == step.name
    prefix, _, name = verdict.name.rpartition(".")
    if (step.name, verdict.name) in given:
        return False
    if step.name != step.type:
        return prefix == step.name
    if prefix:
        return False
    return find_words(name, step.type) is not None or step.type not in check_types_with_words()


def _is_set(step: PassReport, name: str, words: CheckWords | None) -> bool:
    """Return whether the config itself sets the limit of the verdict ``name``."""
    if "goals" in step.given and any(
        f"{name}_".startswith(f"{metric}_") for metric in _goal_metrics(step.params.get("goals"))
    ):
        return True
    return words is not None and not set(words.keys).isdisjoint(step.given)


def _goal_metrics(goals: JsonValue) -> Iterator[str]:
    for goal in goals if isinstance(goals, list) else ():
        if isinstance(goal, dict):
            yield str(goal.get("metric"))
