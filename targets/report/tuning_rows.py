"""The trials of a ``tune`` pass for people: one row each, and how to pin the choice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import tomli_w
from pydantic import JsonValue

from pipeline.tuning.summary import (
    METRIC,
    TuningSummary,
    describe_choice,
    describe_value,
    rejection_reason,
)
from pipeline.tuning.trials import Trial
from targets.figures import duration, rate, size
from targets.report.report_schema import Report

_NOTHING = "–"
_AS_GIVEN = "as given"


@dataclass(frozen=True)
class TrialRow:
    """One trial in words."""

    chosen: bool
    front: bool
    """Whether no other build beats it in size, time per token and closeness at once."""
    out: bool
    """Whether it was excluded."""
    whole: bool
    """Whether the whole model was built."""
    layers: str
    choice: tuple[str, ...]
    """A value for each of the :func:`columns`; empty for the builder's default."""
    prompt: str
    """Prompt tokens per second."""
    decode: str
    """Tokens per second."""
    cost: str
    """Mean KL divergence from the float model, in nats."""
    size: str
    result: str


def tuning_of(report: Report) -> TuningSummary | None:
    """Return the search that made the artifact; ``None`` if it was not a ``tune`` pass."""
    summaries = [step.metrics[METRIC] for step in report.passes if METRIC in step.metrics]
    return TuningSummary.model_validate(summaries[-1]) if summaries else None


def tuning_values(report: Report) -> dict[str, Any]:
    """Return what the templates of reports show of the search that made the artifact."""
    summary = tuning_of(report)
    if summary is None:
        return {"tuning": None}
    return {
        "tuning": summary,
        "tuned_to": headline(summary),
        "front": front(summary),
        "names": [column_title(name) for name in columns(summary)],
        "trials": list(rows(summary)),
        "pinned": pinned(summary, report.target),
    }


def rows(summary: TuningSummary) -> Iterator[TrialRow]:
    """Yield all trials in their order."""
    for place, trial in enumerate(summary.trials):
        yield _row(summary, trial, place == summary.chosen, place in summary.front)


def columns(summary: TuningSummary) -> tuple[str, ...]:
    """Return the names of the parameters that were searched over."""
    return tuple(dict.fromkeys(name for trial in summary.trials for name in _point(trial)))


def column_title(name: str) -> str:
    """Return the name of a column in a form that can be broken into lines."""
    return name.rpartition(".")[2].replace("_", " ")


def headline(summary: TuningSummary) -> str:
    """Return the choice in a line."""
    if summary.chosen is None:
        return f"not tuned: {summary.not_tuned}"
    trial = summary.trials[summary.chosen]
    assert trial.speed is not None  # noqa: S101 - it was chosen for that
    timeout_note = "; max_seconds were over before all was tried" if summary.out_of_time else ""
    margin = f"; {summary.margin}" if summary.margin else ""
    busy = f"; {summary.busy}" if summary.busy else ""
    choice = (
        ", ".join(filter(None, (describe_choice(trial.built), describe_choice(trial.session))))
        or _AS_GIVEN
    )
    return (
        f"{choice}: tokens {rate(trial.speed.tokens_per_second)}, "
        f"prompt {rate(trial.speed.prompt_tokens_per_second)} "
        f"({len(summary.trials)} trials in {duration(summary.seconds)}{timeout_note}){margin}{busy}"
    )


def pinned(summary: TuningSummary, target: str) -> str:
    """Return TOML that replaces the pass and gives the same bytes without measuring."""
    tables = {
        "passes": {"model_builder": {}},
        "targets": {target: {"passes": {"model_builder": summary.pinned}}},
    }
    removed = [f"# without [passes.{name}]\n" for name in summary.left_out]
    return "".join(removed) + tomli_w.dumps(tables)


def front(summary: TuningSummary) -> str:
    """Return what is on the front in a line, the smallest first; empty where only one build is."""
    if len(summary.front) < 2:
        return ""
    every = [*rows(summary)]
    shown = "; ".join(
        f"{', '.join(every[place].choice) or _AS_GIVEN}: {every[place].size}, "
        f"{every[place].decode}, KL {every[place].cost}"
        for place in summary.front
    )
    return f"no build beats these in size, time per token and closeness at once: {shown}"


def _result(trial: Trial, chosen: bool, on_front: bool) -> str:
    words = ("chosen" if chosen else rejection_reason(trial), "on the front" if on_front else "")
    return "; ".join(filter(None, words))


def _point(trial: Trial) -> dict[str, JsonValue]:
    return {**trial.built, **trial.session}


def _row(summary: TuningSummary, trial: Trial, chosen: bool, on_front: bool) -> TrialRow:
    speed, point = trial.speed, _point(trial)
    has_all_layers = trial.layers >= summary.layers
    return TrialRow(
        chosen=chosen,
        front=on_front,
        out=trial.status != "measured",
        whole=has_all_layers and trial.stage == "final",
        layers=f"all {summary.layers}" if has_all_layers else f"{trial.layers} of {summary.layers}",
        choice=tuple(
            describe_value(point[name]) if name in point else _NOTHING for name in columns(summary)
        ),
        prompt=_NOTHING if speed is None else rate(speed.prompt_tokens_per_second),
        decode=_NOTHING if speed is None else rate(speed.tokens_per_second),
        cost=_NOTHING if trial.cost is None else f"{trial.cost:.3g}",
        size=_NOTHING if trial.bytes is None else size(trial.bytes),
        result=_result(trial, chosen, on_front),
    )
