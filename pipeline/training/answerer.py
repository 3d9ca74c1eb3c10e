"""Generates answers and log-probabilities with a transformers model."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch

from pipeline.contract.step import Reporter
from pipeline.evaluation.prefixes import common_prefix
from pipeline.evaluation.scores import AskedPrompts, Reply
from pipeline.onnx.answer_ends import answer_ends
from pipeline.onnx.checkpoint import Checkpoint
from pipeline.training.loading import ModelLoading, load_model
from pipeline.training.prompt_cache import CachingModel, Kept, can_continue
from pipeline.training.streamed import load_fp32

_CACHE_BYTES = 1 << 30
"""Memory for keys and values of a batch."""
_LOGITS = 1 << 26
"""Logits that are computed at once."""
_TOKENS = 1 << 12
"""Tokens of a batch, beyond what all prompts begin with."""
_FIRST = 1 << 9
"""Tokens of the first batch: a small one, so that the time of all can be told soon."""


def answerer_of(
    checkpoint: Checkpoint, tokenizer: Any, loading: ModelLoading, report: Reporter
) -> TorchAnswerer:
    """Return an answerer over the model of ``checkpoint``: as it is on a GPU, else in fp32."""
    if torch.cuda.is_available():
        model = load_model(checkpoint.folder, loading).eval()
    else:
        model = load_fp32(checkpoint.folder, loading, report)
    ends = frozenset(answer_ends(checkpoint, tokenizer))
    return TorchAnswerer(model, tokenizer.pad_token_id, ends)


class _Prefix(NamedTuple):
    """What several prompts begin with."""

    kept: Kept
    length: int
    bytes_per_token: float
    """Size of the keys and values of one token."""


@dataclass(frozen=True)
class TorchAnswerer:
    """An :class:`pipeline.evaluation.scores.Answerer` over a transformers model, in batches.

    What all prompts begin with is run once, and each prompt once for its answer and all its
    continuations. A model that cannot do that right
    (:func:`pipeline.training.prompt_cache.can_continue`) runs every row by itself.
    """

    model: Any
    pad_id: int
    end_ids: frozenset[int]
    batch_size: int | None = None
    """Prompts of a batch at most; by default, its tokens and memory alone limit it."""
    repetition_penalty: float = 1.0
    """By which the logits of tokens in prompt and answer are divided, or multiplied below zero
    (https://arxiv.org/abs/1909.05858)."""

    def ask(
        self, prompts: Sequence[Sequence[int]], longest: int, done: Container[int] = ()
    ) -> Iterator[AskedPrompts]:
        """Read ``prompts``, those of similar length together."""
        prefix = self._prefix(prompts, longest)
        if prefix is None:
            for alike in _open(self._alike(prompts), done):
                yield _PlainPrompts(self, alike, [prompts[number] for number in alike])
            return
        for batch in _open(self._batches(prompts, prefix, longest), done):
            asked = [prompts[number] for number in batch]
            rest = [prompt[prefix.length :] for prompt in asked]
            kept = self.caching.after(prefix.kept, [0] * len(rest), rest, left=True)
            yield _KeptPrompts(self, batch, asked, kept)

    @property
    def vocabulary(self) -> int:
        """Return the number of tokens among which the model chooses."""
        return int(self.model.config.get_text_config().vocab_size)

    @property
    def dtype(self) -> str:
        """Return the number format that it computes in."""
        return str(self.model.dtype)

    @cached_property
    def caching(self) -> CachingModel:
        """The model, as one that keeps what it has run."""
        return CachingModel(self.model, self.pad_id)

    def cut(self, ids: list[int]) -> Reply:
        """Return the reply that ends before the first end token of ``ids``."""
        end = next((at for at, token in enumerate(ids) if token in self.end_ids), len(ids))
        return Reply(ids[:end], ended=end < len(ids))

    def _prefix(self, prompts: Sequence[Sequence[int]], more: int) -> _Prefix | None:
        """Run what all ``prompts`` begin with; return ``None`` if the model cannot continue it with
        up to ``more`` tokens after a prompt."""
        if not prompts or not can_continue(self.model, max(map(len, prompts)) + more):
            return None
        nothing = self.caching.nothing()
        length = common_prefix(prompts)
        # Nothing in common: one token is run all the same, to see what it takes.
        kept = self.caching.after(nothing, [0], [prompts[0][: length or 1]], left=True)
        return _Prefix(kept if length else nothing, length, kept.bytes_per_token)

    def _batches(
        self, prompts: Sequence[Sequence[int]], prefix: _Prefix, more: int
    ) -> Iterator[list[int]]:
        """Yield numbers of prompts of similar length, as many as memory has room for."""
        room = _CACHE_BYTES / prefix.bytes_per_token
        batch: list[int] = []
        most = _FIRST
        for index in sorted(range(len(prompts)), key=lambda index: len(prompts[index])):
            width, size = len(prompts[index]) + more, len(batch) + 1
            beyond = size * (width - prefix.length) > most or size * width > room
            if batch and (beyond or len(batch) == self.batch_size):
                yield batch
                batch, most = [], _TOKENS
            batch.append(index)
        if batch:
            yield batch

    def _alike(self, prompts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """Yield numbers of prompts of the same length, as many as a batch may have."""
        by_length: dict[int, list[int]] = {}
        for index, prompt in enumerate(prompts):
            by_length.setdefault(len(prompt), []).append(index)
        for length, same in by_length.items():
            size = min(self.batch_size or len(same), max(1, _TOKENS // length))
            for start in range(0, len(same), size):
                yield same[start : start + size]


def _open(batches: Iterable[list[int]], done: Container[int]) -> Iterator[list[int]]:
    """Yield the batches with a number that is not ``done``."""
    return (batch for batch in batches if not all(number in done for number in batch))


@dataclass(frozen=True)
class _KeptPrompts:
    """Prompts whose keys and values are kept."""

    answerer: TorchAnswerer
    indices: Sequence[int]
    prompts: Sequence[Sequence[int]]
    kept: Kept

    def greedy(self, max_new_tokens: int) -> list[Reply]:
        """Return the greedy answer to each prompt, cut before the first end token."""
        caching, kept = self.answerer.caching, self.kept
        rows: list[list[int]] = [[] for _ in self.prompts]
        going = list(range(len(rows)))  # the row of `rows` that each row of `kept` is
        for done in range(1, max_new_tokens + 1):
            asked = [[*self.prompts[row], *rows[row]] for row in going]
            tokens = self._penalized(kept.logits[:, -1].float(), asked).argmax(-1).tolist()
            for row, token in zip(going, tokens, strict=True):
                rows[row].append(token)
            left = [at for at, token in enumerate(tokens) if token not in self.answerer.end_ids]
            if not left or done == max_new_tokens:
                break
            kept = caching.after(kept, left, [[tokens[at]] for at in left], left=True)
            going = [going[at] for at in left]
        return list(map(self.answerer.cut, rows))

    def logprobs(self, continuations: Sequence[Sequence[Sequence[int]]]) -> list[list[list[float]]]:
        """Return the natural log-probability of each token of each continuation."""
        first = self.kept.logits[:, -1].float().log_softmax(-1)
        found = [
            [[float(first[index, one[0]])] if one else [] for one in several]
            for index, several in enumerate(continuations)
        ]
        longer = [
            (index, number)
            for index, several in enumerate(continuations)
            for number, one in enumerate(several)
            if len(one) > 1
        ]
        widest = max((len(one) for several in continuations for one in several), default=0)
        most = max(1, _LOGITS // (widest * first.shape[-1] or 1))
        for start in range(0, len(longer), most):
            some = longer[start : start + most]
            ids = [continuations[index][number] for index, number in some]
            rows = [index for index, _ in some]
            made = self.answerer.caching.after(
                self.kept, rows, [one[:-1] for one in ids], left=False
            )
            for (index, number), one, logits in zip(some, ids, made.logits, strict=True):
                found[index][number] += _chosen(logits[: len(one) - 1], one[1:])
        return found

    def _penalized(self, logits: torch.Tensor, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        penalty = self.answerer.repetition_penalty
        if penalty == 1:
            return logits
        logits = logits.clone()  # what a model gave in inference mode cannot be changed
        for scores, row in zip(logits, rows, strict=True):
            seen = torch.tensor(sorted(set(row)), device=logits.device)
            old = scores[seen]
            scores[seen] = torch.where(old < 0, old * penalty, old / penalty)
        return logits


@dataclass(frozen=True)
class _PlainPrompts:
    """Prompts of the same length, so that none is padded, of which nothing is kept."""

    answerer: TorchAnswerer
    indices: Sequence[int]
    prompts: Sequence[Sequence[int]]

    def greedy(self, max_new_tokens: int) -> list[Reply]:
        """Return the greedy answer to each prompt, cut before the first end token."""
        from transformers import GenerationConfig

        model, ends = self.answerer.model, self.answerer.end_ids
        ids = torch.tensor([list(prompt) for prompt in self.prompts], device=model.device)
        # The model's own would add what the checkpoint has beyond these.
        model.generation_config = GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=False,
            repetition_penalty=self.answerer.repetition_penalty,
            pad_token_id=self.answerer.pad_id,
            eos_token_id=sorted(ends) or None,
        )
        with torch.inference_mode():
            made = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids))
        return list(map(self.answerer.cut, made[:, ids.shape[1] :].tolist()))

    def logprobs(self, continuations: Sequence[Sequence[Sequence[int]]]) -> list[list[list[float]]]:
        """Return the natural log-probability of each token of each continuation."""
        return [
            [self._logprobs(prompt, one) for one in several]
            for prompt, several in zip(self.prompts, continuations, strict=True)
        ]

    def _logprobs(self, prompt: Sequence[int], continuation: Sequence[int]) -> list[float]:
        model = self.answerer.model
        ids = torch.tensor([[*prompt, *continuation]], device=model.device)
        with torch.inference_mode():
            logits = model(input_ids=ids, use_cache=False).logits[0]
        first = len(prompt) - 1  # the logits at a position are of the token after it
        return _chosen(logits[first : first + len(continuation)], continuation)


def _chosen(logits: torch.Tensor, tokens: Sequence[int]) -> list[float]:
    """Return the log-probability of each of ``tokens``, by the logits of shape [tokens, vocabulary]
    from which each was to be chosen."""
    wanted = torch.tensor(list(tokens), device=logits.device, dtype=torch.long)
    values: list[float] = logits.float().log_softmax(-1).gather(1, wanted[:, None])[:, 0].tolist()
    return values


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
