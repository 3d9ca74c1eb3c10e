"""Generates answers and log-probabilities with a transformers model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pipeline.evaluation.scores import Reply


@dataclass(frozen=True)
class TorchAnswerer:
    """An :class:`pipeline.evaluation.scores.Answerer` over a transformers model, in batches."""

    model: Any
    pad_id: int
    end_ids: frozenset[int]
    batch_size: int

    def greedy(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> list[Reply]:
        """Return the greedy answer to each prompt, cut before the first end token."""
        answers: list[Reply] = []
        for start in range(0, len(prompts), self.batch_size):
            ids, mask = self._padded(prompts[start : start + self.batch_size], left=True)
            with torch.inference_mode():
                made = self.model.generate(
                    input_ids=ids,
                    attention_mask=mask,
                    max_new_tokens=max_new_tokens,
                    do_sample=False,
                    num_beams=1,
                    pad_token_id=self.pad_id,
                    eos_token_id=sorted(self.end_ids) or None,
                )
            answers.extend(self._cut(row) for row in made[:, ids.shape[1] :].tolist())
        return answers

    def logprobs(
        self, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        """Return the natural log-probability of each token of each continuation."""
        results: list[list[float]] = []
        for start in range(0, len(prompts), self.batch_size):
            batch = prompts[start : start + self.batch_size]
            afters = continuations[start : start + self.batch_size]
            rows = [[*before, *after] for before, after in zip(batch, afters, strict=True)]
            ids, mask = self._padded(rows, left=False)
            with torch.inference_mode():
                logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
            for index, (before, after) in enumerate(zip(batch, afters, strict=True)):
                first = len(before) - 1  # the logits at a position are of the token after it
                chosen = logits[index, first : first + len(after)].float().log_softmax(-1)
                targets = torch.tensor(list(after), device=chosen.device)
                results.append(chosen.gather(1, targets[:, None])[:, 0].tolist())
        return results

    def _padded(
        self, rows: Sequence[Sequence[int]], left: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids and mask of shape [rows, longest], on the model's device."""
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self.pad_id)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for index, row in enumerate(rows):
            place = slice(width - len(row), width) if left else slice(0, len(row))
            ids[index, place] = torch.tensor(list(row))
            mask[index, place] = 1
        return ids.to(self.model.device), mask.to(self.model.device)

    def _cut(self, ids: list[int]) -> Reply:
        end = next((at for at, token in enumerate(ids) if token in self.end_ids), len(ids))
        return Reply(ids[:end], ended=end < len(ids))


def stream(model: Any, prompt: Sequence[int], max_new_tokens: int) -> Iterator[int]:
    """Yield exactly ``max_new_tokens`` greedy tokens one by one, end tokens like any other."""
    ids = torch.tensor([list(prompt)], device=model.device)
    past = None
    for _ in range(max_new_tokens):
        with torch.inference_mode():
            out = model(input_ids=ids, past_key_values=past, use_cache=True)
        past = out.past_key_values
        token = int(out.logits[0, -1].argmax())  # waits for the device
        ids = torch.tensor([[token]], device=model.device)
        yield token


def end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Return the ids of all tokens that end an answer, of generation config and tokenizer."""
    configured = model.generation_config.eos_token_id
    listed = configured if isinstance(configured, list) else [configured, tokenizer.eos_token_id]
    return frozenset(token for token in listed if token is not None)
