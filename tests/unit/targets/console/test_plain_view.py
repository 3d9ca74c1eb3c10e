"""What a log shows of a build: plain lines, folded where the CI system folds."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.console import Console

from pipeline.contract.events import (
    Event,
    Noted,
    StepFailed,
    StepFinished,
    StepProgress,
    StepStarted,
    Warned,
)
from targets.console.plain_view import PlainView, folding_for

EVENTS: tuple[Event, ...] = (
    StepStarted(step="lora"),
    StepProgress(step="lora", done=5, total=10, metrics={"loss": 1.25}),
    StepProgress(step="lora", done=10, total=10, metrics={"loss": 0.5}),
    StepFinished(step="lora", seconds=61.4, peak_rss_bytes=1),
    StepStarted(step="merge"),
    Warned(step="merge", message="mind the [gap]"),
    Noted(step="merge", message="tokens [of] a row"),
    StepFailed(step="merge", cause="error", message="it broke"),
)


def shown(environment: dict[str, str], events: Sequence[Event] = EVENTS) -> list[str]:
    out = io.StringIO()
    view = PlainView(Console(file=out, width=80), folding_for(environment))
    for event in events:
        view.event(event)
    return out.getvalue().splitlines()


def test_log_has_one_line_per_start_and_end_with_time_and_last_loss() -> None:
    lines = shown({})
    assert lines[0] == "lora ..."
    assert lines[1].split() == ["✓", "lora", "1", "min", "01", "s", "loss", "0.5"]
    assert lines[2:] == [
        "merge ...",
        "warning: merge: mind the [gap]",
        "note: merge: tokens [of] a row",
        "✗ merge",
    ]


def test_what_a_step_says_is_folded_on_every_ci_system_and_its_warnings_are_not() -> None:
    assert shown({"GITHUB_ACTIONS": "true"})[2:] == [
        "merge ...",
        "warning: merge: mind the [gap]",
        "::group::merge",
        "note: merge: tokens [of] a row",
        "::endgroup::",
        "✗ merge",
    ]
    assert "##[group]merge" in shown({"TF_BUILD": "True"})
    gitlab = "".join(shown({"GITLAB_CI": "true"}))
    assert gitlab.count("section_start:") == gitlab.count("section_end:") == 1


def test_no_group_is_empty_or_holds_a_warning() -> None:
    noted = Noted(step="lora", message="a note")
    warned = Warned(step="lora", message="a warning")
    events: tuple[Event, ...] = (StepStarted(step="lora"), noted, warned, noted, *EVENTS[3:4])
    lines = shown({"GITHUB_ACTIONS": "true"}, events)
    group = ["::group::lora", "note: lora: a note", "::endgroup::"]
    assert lines[:-1] == ["lora ...", *group, "warning: lora: a warning", *group]
