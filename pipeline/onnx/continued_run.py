"""Runs tokens through an artifact and goes back to run others: what they share is run once."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any


class ContinuedRun:
    """What a generator has run so far, of which the end can be taken back."""

    def __init__(self, new_generator: Callable[[], Any], rewinds: bool) -> None:
        """``rewinds`` says whether the model's states can be taken back; those of windows and
        convolutions cannot, so that the tokens before are run again."""
        self._new_generator = new_generator
        self._rewinds = rewinds
        self._generator = new_generator()
        self._tokens: list[int] = []

    def back_to(self, size: int) -> None:
        """Forget all but the first ``size`` tokens."""
        if size == len(self._tokens):
            return
        kept = self._tokens[:size]
        if self._rewinds and size:
            self._generator.rewind_to(size)
            self._tokens = kept
            return
        self._generator = self._new_generator()
        self._tokens = []
        self.after(kept)

    def after(self, tokens: Sequence[int]) -> Any:
        """Run ``tokens``; return the logits after each, or after the last only if the output layer
        gives no others. Shape (tokens, vocabulary), float64."""
        import numpy as np

        if not tokens:
            return np.empty((0, 0))
        self._generator.append_tokens(np.asarray(tokens, dtype=np.int32))
        self._tokens += tokens
        return np.array(self._generator.get_output("logits")[0], dtype=np.float64)

    def greedy(self, most: int, ends: Container[int]) -> list[int]:
        """Return up to ``most`` greedy tokens, the last of which may be one of ``ends``."""
        made: list[int] = []
        while len(made) < most and not self._generator.is_done():
            self._generator.generate_next_token()
            made.append(int(self._generator.get_next_tokens()[0]))
            if made[-1] in ends:
                break
        self._tokens += made
        return made

    def after_each(self, tokens: Sequence[int]) -> Any:
        """Run ``tokens``; return the logits after each."""
        import numpy as np

        size = len(self._tokens)
        rows = self.after(tokens)
        if len(rows) == len(tokens):
            return rows
        self.back_to(size)
        return np.concatenate([self.after([token]) for token in tokens])


def log_probabilities(rows: Any, tokens: Sequence[int]) -> list[float]:
    """Return the natural log-probability of each of ``tokens`` by the logits in its row."""
    import numpy as np

    if not tokens:
        return []
    highest = rows.max(axis=-1, keepdims=True)
    totals = np.log(np.exp(rows - highest).sum(axis=-1)) + highest[:, 0]
    chosen = rows[np.arange(len(tokens)), np.asarray(tokens)]
    return [float(value) for value in chosen - totals]
