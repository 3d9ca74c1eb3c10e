"""The live view: nothing is cut at any width, and nothing is drawn where nothing runs."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.contract.events import (
    Event,
    StepFailed,
    StepFinished,
    StepProgress,
    StepStarted,
)
from pipeline.contract.result import Status, StepResult, Verdict
from targets.cache import CachedStep
from targets.cli.running import show_view
from targets.console.live_view import LiveView
from targets.console.plain_view import PlainView
from targets.console.safe_console import SafeConsole
from targets.planner.build_plan import BuildPlan, PlannedStep
from tests.support.plans import step

BAR = "━"
FIGURES = {"loss": 1.234, "validation_loss": 1.5, "tokens_per_second": 6421.3, "gpu_bytes": 3.1e9}
RUNNING = StepProgress(step="lora", done=60, total=250, metrics=FIGURES)
NAMES = ("pretrain", "lora", "adapted_reference", "quality", "graph")


def cached(status: Status | None) -> CachedStep:
    verdicts = () if status is None else (Verdict(name="x", status=status),)
    result = StepResult(name="x", type="x", key="k", seconds=1, peak_rss_bytes=1, verdicts=verdicts)
    return CachedStep(Path("nowhere"), result)


def plan_of(**known: CachedStep) -> BuildPlan:
    steps = tuple(
        PlannedStep(
            step(name, "pass", {}, None, type=name).model_copy(update={"key": name}),
            known.get(name),
            "cached" if name in known else "r: 8 → 16",
        )
        for name in NAMES
    )
    return BuildPlan("tone", "cpu", steps, (), "lora")


def frame(
    events: Sequence[Event], width: int, height: int = 40, done: bool = True, **known: CachedStep
) -> list[str]:
    """Return the lines of the last picture of a build of which ``events`` have come."""
    out = io.StringIO()
    console = SafeConsole(
        file=out, width=width, height=height, force_terminal=True, color_system=None, emoji=False
    )
    view = LiveView(console)
    view.planned(plan_of(**known))
    for event in events:
        view.event(event)
    out.truncate(0)
    out.seek(0)
    if done:
        view.close()
        shown = out.getvalue()
    else:
        with console.capture() as captured:
            console.print(view.picture)
        view.close()
        shown = captured.get()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", shown)
    return [line.rstrip() for line in plain.splitlines() if line.strip()]


def started(name: str) -> StepStarted:
    return StepStarted(step=name)


def finished(name: str, status: Status | None = None) -> StepFinished:
    return StepFinished(step=name, seconds=64.2, peak_rss_bytes=1, status=status)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_every_figure_of_a_running_step_is_whole(width: int) -> None:
    lines = frame((started("lora"), RUNNING), width)
    assert all(len(line) <= width for line in lines)
    text = " ".join(" ".join(lines).split())
    for part in (
        "60/250 steps",
        "loss 1.234",
        "validation loss 1.5",
        "6,421 tokens/s",
        "GPU 3.1 GB",
        "adapted_reference",
        "r: 8 → 16",
    ):
        assert part in text, part
    assert "…" not in text


def test_a_bar_is_drawn_where_something_runs_and_nowhere_else() -> None:
    events: list[Event] = [
        started("lora"),
        RUNNING,
        finished("lora"),
        started("quality"),
        StepProgress(step="quality", done=3, total=12, unit="prompts"),
    ]
    lines = frame(events, 80, pretrain=cached(None))
    with_bar = [line for line in lines if BAR in line]
    assert [line.split()[1] for line in with_bar] == ["quality"]
    by_name = {line.split()[1]: line for line in lines if len(line.split()) > 1}
    assert by_name["pretrain"].split() == ["✓", "pretrain", "cached"]
    assert by_name["lora"].split() == ["✓", "lora", "1", "min", "04", "s"]
    assert by_name["graph"].startswith("· graph")


@pytest.mark.parametrize(
    ("status", "mark"), [("failed", "✗"), ("unverified", "?"), ("passed", "✓"), (None, "✓")]
)
def test_a_check_that_failed_has_no_tick_and_no_bar(status: Status | None, mark: str) -> None:
    progress = StepProgress(step="quality", done=12, total=12, unit="prompts")
    lines = frame((started("quality"), progress, finished("quality", status)), 80)
    (line,) = (line for line in lines if "quality" in line)
    assert line.startswith(f"{mark} quality")
    assert BAR not in line
    assert (str(status) in line) == (status in ("failed", "unverified"))


def test_what_a_cached_check_came_to_is_shown() -> None:
    lines = frame([], 80, graph=cached("unverified"), quality=cached("passed"))
    assert any(line.startswith("? graph") for line in lines)
    assert any(line.startswith("✓ quality") for line in lines)


def test_a_step_that_broke_has_no_tick() -> None:
    events: list[Event] = [
        started("lora"),
        RUNNING,
        StepFailed(step="lora", cause="error", message="x"),
    ]
    (line,) = (line for line in frame(events, 80) if "lora" in line)
    assert line.startswith("✗ lora")
    assert "broke after 60/250 steps" in line
    assert BAR not in line


def test_on_a_low_terminal_steps_that_say_nothing_share_a_line() -> None:
    events: list[Event] = [started("pretrain"), finished("pretrain"), started("lora"), RUNNING]
    low = frame(events, 80, height=6, done=False, graph=cached(None))
    assert any("2 steps wait" in line for line in low)
    assert any("60/250 steps" in line for line in low)
    assert len(frame(events, 80, height=6)) >= len(NAMES), "in the end all are shown"


@pytest.mark.parametrize(
    ("terminal", "encoding", "live"),
    [("xterm", "utf-8", True), ("dumb", "utf-8", False), ("xterm", "ascii", False)],
)
def test_a_terminal_that_cannot_draw_gets_lines(
    terminal: str, encoding: str, live: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("CI", raising=False)
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", terminal)
    raw = io.BytesIO()
    console: Console = SafeConsole(file=Terminal(raw, encoding=encoding), width=60)
    with show_view(console) as view:
        assert isinstance(view, LiveView if live else PlainView)
        if not live:
            view.planned(plan_of(pretrain=cached(None)))
            failed = finished("quality", "failed")
            for event in (started("lora"), RUNNING, finished("lora"), failed):
                view.event(event)
    if not live:
        console.file.flush()
        said = raw.getvalue().decode("ascii")
        assert "\x1b" not in said
        assert "+ pretrain" in said
        assert "x quality" in said
        assert "6,421 tokens/s" in said
