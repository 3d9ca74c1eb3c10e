"""What every peer is asked, and what it is asked for.

A program is called as ``python -m tests.benchmarks.peers.programs.NAME MODEL ASKED``; ``ASKED`` is
JSON. It prints one line of JSON: seconds of the load, the times of each answer, and the natural
log-probabilities of the text that it was given to read.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

CHUNK = 128
"""Tokens of a text that are read at once, so that most of them see a cache of keys and values."""
_WARM_TOKENS = 4


@dataclass(frozen=True)
class Question:
    """A prompt, and how many tokens are to follow it, whatever they are."""

    prompt: Sequence[int]
    new: int


@dataclass(frozen=True)
class Asked:
    """What one process does."""

    threads: int
    warm: Sequence[int]
    """A short prompt, after which everything that is made once is made."""
    questions: Sequence[Question] = ()
    texts: Sequence[Sequence[int]] = ()
    """Windows of text to be read."""

    @property
    def room(self) -> int:
        """Return the largest number of tokens that are in a context."""
        answers = (len(one.prompt) + one.new for one in self.questions)
        return max([*answers, *map(len, self.texts), len(self.warm) + _WARM_TOKENS])

    def to_json(self) -> str:
        """Return it as the programs take it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Asked:
        """Return what :meth:`to_json` wrote."""
        values = json.loads(text)
        values["questions"] = [Question(**one) for one in values["questions"]]
        return cls(**values)


@dataclass(frozen=True)
class Answered:
    """What one process found."""

    load: float
    """Seconds from before the load to the end of the first, short answer: some libraries read
    weights only then."""
    answers: Sequence[Sequence[float]] = ()
    """For each question: seconds from the prompt to each token."""
    logprobs: Sequence[Sequence[float]] = field(default=(), repr=False)
    """For each text: of each token after the first."""


class Engine(Protocol):
    """A loaded model."""

    def times(self, prompt: Sequence[int], new: int) -> Iterator[float]:
        """Answer greedily with exactly ``new`` tokens; yield the clock after each."""
        ...

    def logprobs(self, text: Sequence[int]) -> Sequence[float]:
        """Return the natural log-probability of each token of ``text`` after the first."""
        ...


def main(load: Callable[[Path, Asked], Engine]) -> None:
    """Do what the command line asks for."""
    asked = Asked.from_json(Path(sys.argv[2]).read_text("utf-8"))
    began = time.perf_counter()
    engine = load(Path(sys.argv[1]), asked)
    *_, ready = engine.times(asked.warm, _WARM_TOKENS)
    answers = [list(_seconds(engine, one)) for one in asked.questions]
    logprobs = [list(engine.logprobs(text)) for text in asked.texts]
    found = Answered(ready - began, answers, logprobs)
    sys.stdout.write(f"\n{json.dumps(asdict(found))}\n")


def _seconds(engine: Engine, question: Question) -> Iterator[float]:
    began = time.perf_counter()
    times = list(engine.times(question.prompt, question.new))
    assert len(times) == question.new, f"{len(times)} tokens in place of {question.new}"
    return (clock - began for clock in times)


def chunks(text: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield the parts of ``text`` that are read at once."""
    for first in range(0, len(text), CHUNK):
        yield text[first : first + CHUNK]
