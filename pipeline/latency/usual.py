"""Limits where a config gives none: they grow with the weights and with what is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pydantic import Field

from pipeline.contract.frozen import Frozen

_GB = 1e9


class SizedLimit(Frozen):
    """Milliseconds that grow with the weights that are read for every token."""

    at_least: float = Field(gt=0)
    """What the smallest model may take; everything else comes on top."""
    per_gb: float = Field(default=0, ge=0)
    """For each gigabyte (10^9 bytes) of weights that a token reads."""
    per_gb_and_prompt_token: float = Field(default=0, ge=0)
    """For each gigabyte and each token of the prompt."""

    def of(self, weights_bytes: int, prompt_tokens: int) -> float:
        """Return the limit for weights of that size and a prompt of that length."""
        per_gb = self.per_gb + self.per_gb_and_prompt_token * prompt_tokens
        return float(round(self.at_least + per_gb * weights_bytes / _GB))


class Computed(NamedTuple):
    """A limit, and where it comes from."""

    milliseconds: float
    source: str


class UsualLimits(Frozen):
    """What a target's ``[limits]`` say of the figures that every artifact is held to."""

    first_token_ms: SizedLimit
    token_ms: SizedLimit

    def computed(self, weights_bytes: int, prompt_tokens: int) -> Mapping[str, Computed]:
        """Return the limits by figure, for a token that reads ``weights_bytes``; ``prompt_tokens``
        is the length of the longest prompt."""
        return dict(self._computed(weights_bytes, prompt_tokens))

    def _computed(self, weights_bytes: int, prompt_tokens: int) -> Iterator[tuple[str, Computed]]:
        for name in ("first_token_ms", "token_ms"):
            rule: SizedLimit = getattr(self, name)
            source = f"default for {_size(weights_bytes)}"
            if rule.per_gb_and_prompt_token:
                source += f", {prompt_tokens} tokens"
            yield name, Computed(rule.of(weights_bytes, prompt_tokens), source)


def _size(count: int) -> str:
    return f"{count / _GB:.1f} GB" if count >= _GB else f"{count / 1e6:.3g} MB"
