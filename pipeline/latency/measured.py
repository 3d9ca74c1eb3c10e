"""What was measured of one artifact: every sample, by the process that took it."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.contract.frozen import Frozen
from pipeline.latency.timing import Figure, Timings
from pipeline.statistics.percentiles import Statistic


class Round(Frozen):
    """What one fresh process measured. Processes differ from each other by more than the samples of
    one do, so it is rounds that intervals are made of."""

    load_ms: float
    """From the model folder to a model that can be asked, the imports before it aside."""
    timings: dict[str, Timings]
    """Per kind of prompt: ``short`` (those of the data), else their length in tokens."""


class Measured(Frozen):
    """All rounds of one artifact."""

    rounds: tuple[Round, ...]
    threads: int | None = None
    """``intra_op_num_threads`` of its ``genai_config.json``; ONNX Runtime GenAI uses one thread
    where it says nothing."""
    cpus: tuple[int, ...] = ()
    """The CPUs its process was pinned to."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """Return the kinds of prompts, in the order in which they were asked."""
        return tuple(dict.fromkeys(name for each in self.rounds for name in each.timings))

    def joined(self, prompt: str) -> Timings:
        """Return the samples of all rounds for one kind of prompt."""
        return joined(each.timings[prompt] for each in self.rounds if prompt in each.timings)

    def per_round(self, prompt: str, figure: Figure, statistic: Statistic) -> tuple[float, ...]:
        """Return a statistic of a figure of each round."""
        return tuple(
            figure.value(each.timings[prompt], statistic)
            for each in self.rounds
            if prompt in each.timings and figure.samples(each.timings[prompt])
        )


def joined(parts: Iterable[Timings]) -> Timings:
    """Return the samples of ``parts``, one after another."""
    found = list(parts)
    return Timings(
        prompt_tokens=tuple(value for part in found for value in part.prompt_tokens),
        first_token_ms=tuple(value for part in found for value in part.first_token_ms),
        token_ms=tuple(value for part in found for value in part.token_ms),
        total_ms=tuple(value for part in found for value in part.total_ms),
    )
