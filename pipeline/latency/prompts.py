"""The prompts that are timed: those of the data, and made-up ones of given lengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pipeline.contract.step import Inputs
from pipeline.latency.timing import Workload, prompt_ids, synthetic_prompt

SHORT: Literal["short"] = "short"
"""The kind of prompts that the artifact is made for: those of the data, or those in the config."""

LENGTHS = (128, 512, 1024, 2112)
"""Default lengths of made-up prompts, in tokens. The last one is beyond 2,048, where the rotary
positions of many models change, and with them the time per token."""


@dataclass(frozen=True)
class PromptSet:
    """Prompts that are measured together."""

    name: str
    """:data:`SHORT`, or the length in tokens."""
    prompts: tuple[tuple[int, ...], ...]
    samples: int
    """Total number of answers wanted."""

    @property
    def longest(self) -> int:
        """Return the length of the longest prompt, in tokens."""
        return max(map(len, self.prompts))


def short(inputs: Inputs, workload: Workload, tokenizer: Any, samples: int) -> PromptSet:
    """Return the prompts of the data, or those of the workload if it has any.

    Raises :class:`pipeline.contract.errors.StepError` if there are none.
    """
    return PromptSet(
        SHORT,
        tuple(tuple(ids) for ids in prompt_ids(inputs, workload, tokenizer, samples)),
        samples,
    )


def long(tokenizer: Any, length: int, samples: int) -> PromptSet:
    """Return a made-up prompt of ``length`` tokens."""
    return PromptSet(str(length), (tuple(synthetic_prompt(tokenizer, length)),), samples)
