"""Formats the values of a bench for people, the same way for terminal, Markdown and page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

from targets.bench.bench_schema import (
    Bench,
    BenchMachine,
    Comparison,
    FigureChange,
    Measurement,
    Range,
    Statistics,
    TargetBench,
    TargetComparison,
)
from targets.figures import middle, milliseconds, percent, size


def time_range(interval: Range) -> str:
    """Return ``0.210 ms [0.201, 0.219]``; no brackets for a single round, without an interval."""
    return middle(interval.value, interval.low, interval.high)


def quality_range(target: TargetBench) -> str:
    """Return ``93.5 % [91.1, 95.3]``; an en dash if quality was not measured."""
    value, ends = target.quality.get("artifact"), target.quality.get("interval")
    if not isinstance(value, (int, float)):
        return "–"
    text = percent(float(value))
    if isinstance(ends, list) and len(ends) == 2:
        low, high = ends
        if isinstance(low, (int, float)) and isinstance(high, (int, float)):
            return f"{text} [{100 * low:.1f}, {100 * high:.1f}]"
    return text


def as_written(target: TargetBench) -> str:
    """Return the accuracy of the artifact's answers as it writes them, where an answer that is no
    label is wrong; empty if that is not known."""
    details = target.quality.get("details")
    ours = details.get("artifact") if isinstance(details, dict) else None
    share = ours.get("greedy") if isinstance(ours, dict) else None
    return percent(float(share)) if isinstance(share, (int, float)) else ""


def against(bench: Bench) -> str:
    """Return the model with which the artifacts' answers were compared; empty if there is none."""
    named = (target.quality for target in bench.targets if "paired" in target.quality)
    return next((str(quality.get("against") or "model before") for quality in named), "")


def paired(target: TargetBench) -> str:
    """Return the result of that comparison: ``3 won, 4 lost (p 1)``."""
    comparison = target.quality.get("paired")
    if not isinstance(comparison, dict):
        return "–"
    p_value = comparison.get("p_value")
    chance = f" (p {p_value:.2g})" if isinstance(p_value, (int, float)) else ""
    return f"{comparison.get('won')} won, {comparison.get('lost')} lost{chance}"


def statistics(target: TargetBench, figure: str, prompt: str = "") -> Statistics | None:
    """Return the statistics of ``figure`` to show; by default of the first kind of prompt."""
    measured = target.measured
    if measured is None or not measured.artifact.prompts:
        return None
    return measured.statistics.get(prompt or measured.artifact.prompts[0], {}).get(figure)


def where(measurement: Measurement, bench: Bench) -> str:
    """Return a description of the machine that measured."""
    if measurement.here:
        # The cpu target's device is named after its architecture, which says little.
        named = measurement.device not in bench.machine.system
        return measurement.device if named else bench.machine.cpu
    return ", ".join(part for part in (measurement.device, measurement.system) if part)


def when(at: datetime | None) -> str:
    """Return a time in the form ``2026-11-25 02:00 UTC``."""
    if at is None:
        return "at an unknown time"
    return at.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def busy(machine: BenchMachine) -> str:
    """Return the load of the machine, in words."""
    parts = []
    if machine.load_before is not None:
        after = "" if machine.load_after is None else f", {machine.load_after:g} after"
        parts.append(f"load {machine.load_before:g} before{after}, of {machine.cores} CPUs")
    if machine.busy_before is not None:
        parts.append(f"{percent(machine.busy_before)} of all CPUs busy with other work before")
    return "; ".join(parts) or "not known"


def prompts_of(bench: Bench) -> tuple[str, ...]:
    """Return every kind of prompt with which a target was timed, in order."""
    return tuple(
        dict.fromkeys(
            prompt
            for target in bench.targets
            for one in target.measurements
            for prompt in one.artifact.prompts
        )
    )


def headline(bench: Bench) -> str:
    """Return a summary of the bench in a few sentences: results, what is missing, and changes."""
    return " ".join([*_best(bench), *_lacking(bench), *_moved(bench.comparison)])


def target_summary(target: TargetBench) -> str:
    """Return a summary of one target, without its name."""
    parts = []
    if isinstance(target.quality.get("artifact"), (int, float)):
        base = target.quality.get("base")
        gained = f", base {percent(float(base))}" if isinstance(base, (int, float)) else ""
        parts.append(f"{quality_range(target)} held-out {metric(target)}{gained}")
    token, first = (statistics(target, name) for name in ("token_ms", "first_token_ms"))
    if token is not None and first is not None:
        place = "" if target.here else " (on another machine)"
        parts.append(
            f"first token after {milliseconds(first.p50.value)}, then one every "
            f"{milliseconds(token.p50.value)}{place}"
        )
    else:
        parts.append("not timed")
    parts.append(size(target.bytes))
    return "; ".join(parts) + "."


def metric(target: TargetBench) -> str:
    """Return the name of the quality metric, in words."""
    return str(target.quality.get("metric") or "quality").replace("_", " ")


def _best(bench: Bench) -> Iterator[str]:
    if len(bench.targets) == 1:
        yield f"{bench.targets[0].target}: {target_summary(bench.targets[0])}"
        return
    parts = []
    qualities = {
        one.target: float(value)
        for one in bench.targets
        if isinstance(value := one.quality.get("artifact"), (int, float))
    }
    if qualities:
        low, high = min(qualities.values()), max(qualities.values())
        span = percent(low) if low == high else f"{percent(low)} to {percent(high)}"
        parts.append(f"{span} held-out {metric(bench[next(iter(qualities))])}")
    timed = {
        one.target: times.p50.value
        for one in bench.targets
        if (times := statistics(one, "token_ms")) is not None
    }
    if timed:
        first = min(timed, key=timed.__getitem__)
        parts.append(f"a token every {milliseconds(timed[first])} on the fastest, {first}")
    smallest = min(bench.targets, key=lambda one: one.bytes)
    parts.append(f"{size(smallest.bytes)} for the smallest, {smallest.target}")
    yield f"{len(bench.targets)} targets: {'; '.join(parts)}."


def _lacking(bench: Bench) -> Iterator[str]:
    failed = [one.target for one in bench.targets if one.status == "failed"]
    untimed = [one.target for one in bench.targets if one.measured is None]
    unverified = [one.target for one in bench.targets if one.status == "unverified"]
    if failed:
        yield f"A check failed for {', '.join(failed)}."
    if unverified:
        yield f"Not all is verified of {', '.join(unverified)}."
    if untimed and len(bench.targets) > 1:
        yield f"Not timed: {', '.join(untimed)}."


def _moved(comparison: Comparison | None) -> Iterator[str]:
    if comparison is not None and comparison.targets:
        yield f"Against {comparison.old}, {', '.join(map(_compared, comparison.targets))}."


def _compared(one: TargetComparison) -> str:
    if one.word == "unsure":
        return f"it is unsure whether {one.target} is faster or slower"
    return f"{one.target} is {one.word}"


def value_of(movement: FigureChange, value: float) -> str:
    """Return the old or new value of a change with its unit."""
    if movement.unit == "share":
        return percent(value)
    if movement.unit == "bytes":
        return size(value)
    return milliseconds(value)


def change_of(movement: FigureChange) -> str:
    """Return ``+10.2 % [+8.1, +12.4]``, in points for a share."""
    change = movement.change
    if movement.unit == "share":
        text, ends = f"{100 * change.value:+.1f} points", (change.low, change.high)
        low, high = (None if end is None else 100 * end for end in ends)
    else:
        text = f"{100 * (change.value - 1):+.1f} %"
        low, high = (None if end is None else 100 * (end - 1) for end in (change.low, change.high))
    if movement.kind in ("size", "memory"):
        return text
    if low is None or high is None:
        return f"{text} [no interval]"
    return f"{text} [{low:+.1f}, {high:+.1f}]"
