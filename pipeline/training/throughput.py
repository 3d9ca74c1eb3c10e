"""Measures the cost of training: tokens per second, padding, and memory of the device."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from pydantic import JsonValue

from pipeline.data.tokens import IGNORED

if TYPE_CHECKING:
    from torch import Tensor


class Throughput:
    """Counts the tokens of all training batches, and times the steps.

    The time runs from the first batch to the end of the last optimizer step: forward, backward and
    optimizer. Loading the model and measuring the validation loss do not count. The memory is the
    peak that PyTorch reserved on the GPU since this object was created.
    """

    def __init__(self) -> None:
        self._began: float | None = None
        self._paused = 0.0
        self._earlier = 0.0
        self._computed = 0
        # On the device of the batches, so that counting does not wait for a GPU.
        self._tokens: Tensor | int = 0
        self._learnt: Tensor | int = 0
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def add(self, batch: Mapping[str, Tensor]) -> None:
        """Count a batch that is about to be trained on."""
        if self._began is None:
            self._began = _now()
        self._computed += batch["input_ids"].numel()
        self._tokens = self._tokens + _real(batch)
        # The label of the first token does not count: no token before it predicts it.
        self._learnt = self._learnt + (batch["labels"][:, 1:] != IGNORED).sum()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Context whose time does not count."""
        began = _now()
        try:
            yield
        finally:
            self._paused += _now() - began

    def newest(self) -> dict[str, float]:
        """Return the speed so far, and the memory of the GPU now, for those who watch."""
        speed = _rate(int(self._tokens), self._seconds())
        figures = {} if speed is None else {"tokens_per_second": speed}
        if torch.cuda.is_available():
            figures["gpu_bytes"] = float(torch.cuda.memory_reserved())
        return figures

    def counts(self) -> dict[str, float]:
        """Return what was counted so far, for :meth:`restore`."""
        return {
            "seconds": self._seconds(),
            "computed": self._computed,
            "tokens": int(self._tokens),
            "learnt": int(self._learnt),
        }

    def restore(self, counts: Mapping[str, float]) -> None:
        """Go on with the counts of an interrupted training."""
        self._earlier = counts["seconds"]
        self._computed = int(counts["computed"])
        self._tokens, self._learnt = int(counts["tokens"]), int(counts["learnt"])

    def _seconds(self) -> float:
        now = 0.0 if self._began is None else _now() - self._began - self._paused
        return self._earlier + now

    def figures(self) -> dict[str, JsonValue]:
        """Return the figures after the last step.

        ``tokens_per_second`` counts all tokens of the rows without padding,
        ``learnt_tokens_per_second`` those that carry loss, and ``padding`` is the share of padding
        in all computed tokens.
        """
        seconds = self._seconds()
        tokens, learnt = int(self._tokens), int(self._learnt)
        gpu = torch.cuda.is_available()
        return {
            "training_seconds": round(seconds, 3),
            "tokens_per_second": _rate(tokens, seconds),
            "learnt_tokens_per_second": _rate(learnt, seconds),
            "padding": round(1 - tokens / self._computed, 4) if self._computed else None,
            "peak_device_bytes": torch.cuda.max_memory_reserved() if gpu else None,
        }


def _real(batch: Mapping[str, Any]) -> Tensor:
    """Return the number of tokens of ``batch`` that are not padding."""
    if "attention_mask" in batch:
        return batch["attention_mask"].sum()
    # Sequences begin at position 0, which padding is at too; those that can be learnt from go on.
    positions = batch["position_ids"]
    return (positions > 0).sum() + (positions == 1).sum()


def _rate(count: int, seconds: float) -> float | None:
    return round(count / seconds, 1) if seconds > 0 else None


def _now() -> float:
    """Wait until a GPU has finished all of its work, and return the time."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
