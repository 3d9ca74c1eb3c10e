"""Reads text with a checkpoint in transformers, in fp32: what the others are held against."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from tests.benchmarks.peers.programs.answering import Asked, main


class InTorch:
    """The model as transformers loads it, without anything of Quern's."""

    def __init__(self, model: Path, asked: Asked) -> None:
        torch.set_num_threads(asked.threads)
        self._model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)

    def times(self, prompt: Sequence[int], new: int) -> Iterator[float]:
        """Answer with ``new`` tokens."""
        ids = torch.tensor([list(prompt)])
        self._model.generate(ids, max_new_tokens=new, min_new_tokens=new, do_sample=False)
        yield from [time.perf_counter()] * new

    def logprobs(self, text: Sequence[int]) -> Sequence[float]:
        """Read all of ``text`` at once, by transformers' own loss for each token."""
        ids = torch.tensor([list(text)])
        with torch.no_grad():
            logits = self._model(ids).logits[0, :-1]
        losses = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")
        return [-loss for loss in losses.tolist()]


if __name__ == "__main__":
    main(InTorch)
