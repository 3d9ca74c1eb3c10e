"""Runs rows of tokens through a model and keeps their keys and values, so that what several rows
begin with, or what several continuations follow, is computed once."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

_TAKES = ("position_ids", "logits_to_keep", "past_key_values")
"""Arguments that a model's ``forward`` must have for its rows to be continued."""


@dataclass(frozen=True)
class Kept:
    """Rows that a model has run: their keys and values."""

    cache: Any
    mask: torch.Tensor
    """Which positions of the cache count, of shape [rows, positions]: 0 is padding."""
    logits: torch.Tensor
    """After each of the newest positions, of shape [rows, positions or 1, vocabulary]."""

    @property
    def bytes_per_token(self) -> float:
        """Return the size of the keys and values of one token."""
        tensors = [part for layer in self.cache.layers for part in (layer.keys, layer.values)]
        return float(sum(part.nbytes for part in tensors) / self.mask.numel())


@dataclass(frozen=True)
class CachingModel:
    """A transformers model whose rows can be continued (:meth:`can_continue`)."""

    model: Any
    pad_id: int

    def nothing(self) -> Kept:
        """Return one row without any token."""
        from transformers import DynamicCache

        cache = DynamicCache(config=self.model.config)
        mask = torch.ones((1, 0), dtype=torch.long, device=self.model.device)
        return Kept(cache, mask, torch.empty((1, 0, 0)))

    def after(
        self, kept: Kept, rows: Sequence[int], ids: Sequence[Sequence[int]], left: bool
    ) -> Kept:
        """Run ``ids[i]`` after the row ``rows[i]`` of ``kept``, which stays as it is.

        Shorter rows are padded at the ``left``, which gives the logits after the last token of
        each, or else at the right, which gives those after every token.
        """
        device = self.model.device
        width = max(map(len, ids))
        tokens = torch.full((len(ids), width), self.pad_id)
        mask = torch.zeros((len(ids), width), dtype=torch.long)
        for index, row in enumerate(ids):
            place = slice(width - len(row), width) if left else slice(0, len(row))
            tokens[index, place] = torch.tensor(list(row), dtype=torch.long)
            mask[index, place] = 1
        chosen = torch.tensor(list(rows), device=device)
        whole = torch.cat((kept.mask[chosen], mask.to(device)), dim=1)
        cache = _copied(kept.cache)
        if list(rows) != list(range(len(kept.mask))):
            cache.batch_select_indices(chosen)
        with torch.inference_mode():
            made = self.model(
                input_ids=tokens.to(device),
                attention_mask=whole,
                # Padding has no position of its own.
                position_ids=(whole.cumsum(-1) - 1).clamp(min=0)[:, -width:],
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1 if left else 0,
            )
        return Kept(made.past_key_values, whole, made.logits)


def can_continue(model: Any, longest: int) -> bool:
    """Return whether rows of up to ``longest`` tokens give what they would give without a cache.

    They do if every layer keeps all keys and values. One with a sliding window does as long as
    all is within it; states that sum up what they have seen (Mamba, LFM2) see the padding.
    """
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    own = type(model).__module__.startswith("transformers.")
    if not own or not set(_TAKES) <= inspect.signature(model.forward).parameters.keys():
        return False
    for layer in DynamicCache(config=model.config).layers:
        if type(layer) is DynamicSlidingWindowLayer:
            if longest >= layer.sliding_window:
                return False
        elif type(layer) is not DynamicLayer:
            return False
    return True


def _copied(cache: Any) -> Any:
    """Return a cache with the same tensors; selecting and appending make new ones."""
    copied = copy.copy(cache)
    copied.layers = [copy.copy(layer) for layer in cache.layers]
    return copied
