"""The evidence of the ``latency`` check in the report: statistics, and every sample."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from pipeline.latency.prompts import SHORT
from pipeline.latency.rounds import LatencyRounds
from pipeline.latency.rulings import USUAL, BaseModelTimes
from pipeline.latency.timing import FIGURES, Figure, summary
from pipeline.statistics.intervals import Interval, geometric_interval
from pipeline.statistics.percentiles import SHARES, bound, percentile


def evidence(
    folder: Path,
    measured: Mapping[str, LatencyRounds],
    left_out: Mapping[str, str],
    base: BaseModelTimes,
    busy: float | None = None,
) -> dict[str, JsonValue]:
    """Return the ``latency`` block of the report for the artifact in ``folder``: figures with their
    intervals, and every raw sample, in milliseconds. ``busy`` is the share of the CPUs that other
    work took meanwhile."""
    ours = measured["artifact"]
    short = ours.joined(SHORT)
    first, rest = percentile(short.first_token_ms, 0.5), percentile(short.token_ms, 0.5)
    middle_prompt = percentile(short.prompt_tokens, 0.5)
    latency: dict[str, JsonValue] = {
        "prompts": len(short.first_token_ms),
        "prompt_tokens_p50": middle_prompt,
        "intra_op_num_threads": ours.threads,
        "cpus": list(ours.cpus),
        "load_ms": _interval(geometric_interval([each.load_ms for each in ours.rounds])),
        "bytes": _bytes(folder),
        "prompt_tokens_per_second": round(1000 * middle_prompt / first, 2),
        "decode_tokens_per_second": round(1000 / rest, 2),
        "statistics": {prompt: _statistics(ours, prompt) for prompt in ours.prompts},
        "left_out": dict(left_out),
        "busy": None if busy is None else round(busy, 3),
        **{name: each.model_dump(mode="json") for name, each in measured.items()},
    }
    if base.timings is not None and base.timings.total_ms:
        latency["base"] = {"device": base.device, **summary(base.timings)}
    return latency


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _statistics(measured: LatencyRounds, prompt: str) -> dict[str, JsonValue]:
    """Return each figure's median with its interval over rounds, its percentiles, and the upper
    bound of its p90: ``None`` if there are too few samples."""
    samples = measured.joined(prompt)
    every = summary(samples)
    statistics: dict[str, JsonValue] = {}
    for name, figure in FIGURES.items():
        middle = geometric_interval(measured.per_round(prompt, figure, "p50"))
        times = measured.by_process(prompt, figure)
        statistics[name] = {**every[name], **_interval(middle), **_bounds(figure, times)}
    return statistics


def _interval(interval: Interval) -> dict[str, JsonValue]:
    """Return the value and the ends of its 95 % interval; no ends if there is a single round."""
    ends = {"low": interval.low, "high": interval.high}
    return {
        "p50": round(interval.value, 4),
        **{
            name: round(end, 4) if 0 < end < math.exp(700) and math.isfinite(end) else None
            for name, end in ends.items()
        },
    }


def _bounds(figure: Figure, times: Sequence[Sequence[float]]) -> dict[str, JsonValue]:
    sure = bound(times, SHARES[USUAL])
    return {
        "p90_bound": None if sure is None else round(figure.of_time(sure), 4),
        "samples": sum(map(len, times)),
    }
