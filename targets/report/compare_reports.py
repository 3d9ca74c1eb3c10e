"""What differs between two builds: what they were made from, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from pipeline.contract.result import Verdict
from targets import figures
from targets.figures import milliseconds, percent, verdict_value
from targets.report.main_figures import latency_of, quality_of
from targets.report.report_schema import PassReport, Report

_KEY = "key of "
_LOSSES = {"train_loss": "training loss", "validation_loss": "validation loss", "loss": "loss"}


@dataclass(frozen=True)
class Difference:
    """One thing that two builds have differently; empty where one lacks it."""

    what: str
    first: str
    second: str


def causes(first: Report, second: Report) -> list[Difference]:
    """Return what the builds were made from differently: inputs, parameters, toolchain, code."""
    differing = [one for one in _causes(first, second) if one.first != one.second]
    # A key holds what a step depends on: it says nothing more where the cause has a name.
    named = [one for one in differing if not one.what.startswith(_KEY)]
    return named or differing[:1]


def results(first: Report, second: Report) -> list[Difference]:
    """Return the figures of both: quality, loss, latency, size; also those that are equal."""
    return [one for one in _results(first, second) if one.first or one.second]


def verdicts(first: Report, second: Report) -> list[Difference]:
    """Return the checks that ended differently."""
    both = first, second
    ended = [dict(zip(report.distinct_names, report.checks, strict=True)) for report in both]
    names = dict.fromkeys((*ended[0], *ended[1]))
    rows = (Difference(name, *(_ended(checks.get(name)) for checks in ended)) for name in names)
    status = [{name: check.status for name, check in checks.items()} for checks in ended]
    return [row for row in rows if status[0].get(row.what) != status[1].get(row.what)]


def _causes(first: Report, second: Report) -> Iterator[Difference]:
    inputs = first.inputs, second.inputs
    yield Difference("quern", first.quern, second.quern)
    yield Difference("target", first.target, second.target)
    yield Difference("model", inputs[0].model, inputs[1].model)
    yield Difference("seed", str(inputs[0].seed), str(inputs[1].seed))
    yield from _each("data", inputs[0].data, inputs[1].data, lambda digest: digest[:12])
    passes = [{step.name: step for step in report.passes} for report in (first, second)]
    for name in dict.fromkeys((*passes[0], *passes[1])):
        yield from _pass(name, passes[0].get(name), passes[1].get(name))
    yield Difference("runtime", first.toolchain.runtime, second.toolchain.runtime)
    versions = first.toolchain.versions, second.toolchain.versions
    yield from _each("version", *versions, str)


def _pass(name: str, first: PassReport | None, second: PassReport | None) -> Iterator[Difference]:
    """Yield the parameters of a pass that differ, or else its key: all that it depends on."""
    if first is None or second is None:
        types = ["" if step is None else step.type for step in (first, second)]
        yield Difference(f"passes.{name}", types[0], types[1])
        return
    changed = [
        one
        for one in _each(f"passes.{name}", first.params, second.params, str)
        if one.first != one.second
    ]
    yield from changed
    if not changed:
        yield Difference(f"{_KEY}{name}", first.key[:12], second.key[:12])


def _results(first: Report, second: Report) -> Iterator[Difference]:
    metric = str(first.quality.get("metric") or second.quality.get("metric") or "quality")
    for who in ("base", "tuned", "artifact"):
        shares = [quality_of(report, who) for report in (first, second)]
        yield Difference(f"{metric}, {who}", *map(_if_any(percent), shares))
    for loss, words in _LOSSES.items():
        of_steps = [_metric(report, loss) for report in (first, second)]
        for step in dict.fromkeys((*of_steps[0], *of_steps[1])):
            found = (one.get(step) for one in of_steps)
            yield Difference(f"{words} of {step}", *map(_if_any(figures.digits), found))
    for figure, words in (("first_token_ms", "first token"), ("token_ms", "each token")):
        medians = [latency_of(report, figure) for report in (first, second)]
        for prompt in dict.fromkeys((*medians[0], *medians[1])):
            found = (one.get(prompt) for one in medians)
            yield Difference(f"{words}, {prompt} prompts", *map(_if_any(milliseconds), found))
    yield Difference("size", figures.size(first.size_bytes), figures.size(second.size_bytes))


def _if_any(words: Callable[[float], str]) -> Callable[[float | None], str]:
    return lambda value: "" if value is None else words(value)


def _metric(report: Report, name: str) -> dict[str, float]:
    """Return the metric ``name`` of each pass that has it as a number."""
    values = {step.name: step.metrics.get(name) for step in report.passes}
    return {step: float(value) for step, value in values.items() if isinstance(value, (int, float))}


def _each(
    what: str, first: Mapping[str, object], second: Mapping[str, object], words: Callable[..., str]
) -> Iterator[Difference]:
    for name in dict.fromkeys((*first, *second)):
        shown = (words(one[name]) if name in one else "" for one in (first, second))
        yield Difference(f"{what}.{name}", *shown)


def _ended(check: Verdict | None) -> str:
    return "" if check is None else f"{check.status} {verdict_value(check)}".strip()
