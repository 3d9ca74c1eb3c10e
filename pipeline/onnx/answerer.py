"""Answers of an artifact, for what scores the answers of any model."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.contract.guidance import Guidance
from pipeline.evaluation.prefixes import common_prefix
from pipeline.evaluation.scores import AskedPrompts, Reply
from pipeline.evaluation.settings import GREEDY
from pipeline.onnx.continued_run import ContinuedRun, log_probabilities
from pipeline.onnx.errors import RUNNING, raising_artifact_errors
from pipeline.onnx.session import Session


@dataclass(frozen=True)
class GenAiAnswerer:
    """The :class:`pipeline.evaluation.scores.Answerer` of an artifact."""

    session: Session

    def untouched(self, prompt: Sequence[int], max_new_tokens: int) -> Reply:
        """Return the answer with the artifact's own search settings, cut before the end token."""
        return self._cut(self.session.own_stream(prompt, max_new_tokens))

    def guided(self, prompt: Sequence[int], max_new_tokens: int, guidance: Guidance) -> Reply:
        """Return the greedy answer that ``guidance`` holds, cut before the end token."""
        return self._cut(self.session.own_stream(prompt, max_new_tokens, guidance, GREEDY))

    def _cut(self, tokens: Iterator[int]) -> Reply:
        ids = list(tokens)
        ended = bool(ids) and ids[-1] in self.session.end_ids
        return Reply(ids[:-1] if ended else ids, ended)

    def ask(
        self, prompts: Sequence[Sequence[int]], longest: int, done: Container[int] = ()
    ) -> Iterator[AskedPrompts]:
        """Read ``prompts`` one by one; what all begin with is run once."""
        if not prompts:
            return
        size = common_prefix(prompts)
        max_length = max(map(len, prompts)) + longest + 1
        with raising_artifact_errors(RUNNING):
            run = ContinuedRun(lambda: self.session.generator(max_length), self.session.rewinds)
            run.after(prompts[0][:size])
        for number, prompt in enumerate(prompts):
            if number in done:
                continue
            with raising_artifact_errors(RUNNING):
                run.back_to(size)
                last = run.after(prompt[size:])[-1:]
            yield _AskedPrompt(self.session, run, number, len(prompt), last)


@dataclass(frozen=True)
class _AskedPrompt:
    """One prompt that an artifact has run."""

    session: Session
    run: ContinuedRun
    number: int
    size: int
    """Number of tokens of the prompt."""
    last: Any
    """Logits after its last token, of shape (1, vocabulary)."""

    @property
    def indices(self) -> Sequence[int]:
        return (self.number,)

    def greedy(self, max_new_tokens: int) -> list[Reply]:
        """Return the greedy answer, cut before the end token."""
        with raising_artifact_errors(RUNNING):
            self.run.back_to(self.size)
            ids = self.run.greedy(max_new_tokens, self.session.end_ids)
        ended = bool(ids) and ids[-1] in self.session.end_ids
        return [Reply(ids[:-1] if ended else ids, ended)]

    def logprobs(self, continuations: Sequence[Sequence[Sequence[int]]]) -> list[list[list[float]]]:
        """Return the natural log-probability of each token of each continuation."""
        (several,) = continuations
        with raising_artifact_errors(RUNNING):
            return [[self._logprobs(one) for one in several]]

    def _logprobs(self, continuation: Sequence[int]) -> list[float]:
        import numpy as np

        given = continuation[:-1]
        if not given:
            return log_probabilities(self.last, continuation)
        self.run.back_to(self.size)
        rows = np.concatenate((self.last, self.run.after_each(given)))
        return log_probabilities(rows, continuation)
