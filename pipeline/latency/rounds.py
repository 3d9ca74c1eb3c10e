"""The measurements of one artifact: every sample, grouped by the process that took it."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.contract.frozen import Frozen
from pipeline.latency.timing import Figure, Timings
from pipeline.statistics.percentiles import Statistic


class Round(Frozen):
    """The samples of one fresh process. Processes differ more from each other than the samples of
    one process do, so intervals are computed over rounds."""

    load_ms: float
    """Time to load the model, in milliseconds, without the imports."""
    timings: dict[str, Timings]
    """Samples per kind of prompts: ``short`` (those of the data), or the length in tokens."""


class LatencyRounds(Frozen):
    """All rounds of one artifact."""

    rounds: tuple[Round, ...]
    threads: int | None = None
    """``intra_op_num_threads`` in its ``genai_config.json``: 0 is one per core; without it GenAI
    uses half of the cores, at least one and at most 16."""
    cpus: tuple[int, ...] = ()
    """The CPUs its process was pinned to."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """Return the kinds of prompts, in the order in which they were measured."""
        return tuple(dict.fromkeys(name for each in self.rounds for name in each.timings))

    def joined(self, prompt: str) -> Timings:
        """Return the samples of all rounds for one kind of prompt."""
        return joined(each.timings[prompt] for each in self.rounds if prompt in each.timings)

    def by_process(self, prompt: str, figure: Figure) -> tuple[tuple[float, ...], ...]:
        """Return the times that a figure is computed from, of each process that has any."""
        times = (
            figure.samples(each.timings[prompt]) for each in self.rounds if prompt in each.timings
        )
        return tuple(one for one in times if one)

    def per_round(self, prompt: str, figure: Figure, statistic: Statistic) -> tuple[float, ...]:
        """Return a statistic of a figure for each round that has samples of this kind."""
        return tuple(
            figure.value(each.timings[prompt], statistic)
            for each in self.rounds
            if prompt in each.timings and figure.samples(each.timings[prompt])
        )


def joined(parts: Iterable[Timings]) -> Timings:
    """Return the samples of all ``parts``, concatenated."""
    all_parts = list(parts)
    return Timings(
        prompt_tokens=tuple(value for part in all_parts for value in part.prompt_tokens),
        first_token_ms=tuple(value for part in all_parts for value in part.first_token_ms),
        token_ms=tuple(value for part in all_parts for value in part.token_ms),
        total_ms=tuple(value for part in all_parts for value in part.total_ms),
    )
