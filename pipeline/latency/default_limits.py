"""Default limits of latency, which grow with the size of the weights and the length of prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pydantic import Field

from pipeline.contract.frozen import Frozen

_GB = 1e9


class SizedLimit(Frozen):
    """A limit in milliseconds that grows with the weights that are read per token."""

    at_least: float = Field(gt=0)
    """Constant part, in milliseconds."""
    per_gb: float = Field(default=0, ge=0)
    """Milliseconds added per gigabyte (10^9 bytes) of weights that a token reads."""
    per_gb_and_prompt_token: float = Field(default=0, ge=0)
    """Milliseconds added per gigabyte and token of the prompt."""

    def of(self, weights_bytes: int, prompt_tokens: int) -> float:
        """Return ``at_least + gb * (per_gb + per_gb_and_prompt_token * prompt_tokens)``, rounded to
        whole milliseconds, with ``gb`` for the size of the weights in gigabytes."""
        per_gb = self.per_gb + self.per_gb_and_prompt_token * prompt_tokens
        return float(round(self.at_least + per_gb * weights_bytes / _GB))


class ComputedLimit(NamedTuple):
    """A limit in milliseconds, and its source."""

    milliseconds: float
    source: str


class DefaultLimits(Frozen):
    """A target's ``[limits]``: the default limits of the figures that every artifact must keep."""

    first_token_ms: SizedLimit
    token_ms: SizedLimit

    def computed(self, weights_bytes: int, prompt_tokens: int) -> Mapping[str, ComputedLimit]:
        """Return the limits by figure.

        ``weights_bytes`` are the weights that are read per token, ``prompt_tokens`` is the length
        of the longest prompt.
        """
        return dict(self._computed(weights_bytes, prompt_tokens))

    def _computed(
        self, weights_bytes: int, prompt_tokens: int
    ) -> Iterator[tuple[str, ComputedLimit]]:
        for name in ("first_token_ms", "token_ms"):
            rule: SizedLimit = getattr(self, name)
            source = f"default for {_size(weights_bytes)}"
            if rule.per_gb_and_prompt_token:
                source += f", {prompt_tokens} tokens"
            yield name, ComputedLimit(rule.of(weights_bytes, prompt_tokens), source)


def _size(count: int) -> str:
    return f"{count / _GB:.1f} GB" if count >= _GB else f"{count / 1e6:.3g} MB"
