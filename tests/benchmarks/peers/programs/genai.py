"""Asks an artifact of the model builder through ONNX Runtime GenAI."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pipeline.onnx.continued_run import ContinuedRun, log_probabilities
from pipeline.onnx.session import Session
from tests.benchmarks.peers.programs.answering import Asked, chunks, main


class GenAi:
    """The artifact in a session, as Quern's checks ask it."""

    def __init__(self, model: Path, asked: Asked) -> None:
        self._session = Session(model, asked.threads)

    def times(self, prompt: Sequence[int], new: int) -> Iterator[float]:
        """Answer with ``new`` tokens."""
        for _ in self._session.stream(prompt, new, never_end=True):
            yield time.perf_counter()

    def logprobs(self, text: Sequence[int]) -> Sequence[float]:
        """Read ``text``."""
        run = ContinuedRun(lambda: self._session.generator(len(text) + 1), rewinds=False)
        rows = np.concatenate([run.after(list(part)) for part in chunks(text)])
        return log_probabilities(rows[:-1], text[1:])


if __name__ == "__main__":
    main(GenAi)
