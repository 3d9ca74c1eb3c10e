"""Where a config gives no limit of latency, one follows from the target and the artifact's size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.checks.latency import LatencyParams
from pipeline.checks.latency import _final_verdict as ended_verdict
from pipeline.contract.result import Verdict
from pipeline.latency.default_limits import DefaultLimits, SizedLimit
from pipeline.latency.rulings import Ruling
from targets.config.load import load_config
from targets.console.print_summary import print_summary
from targets.errors import ConfigError
from targets.report.report_markdown import to_markdown
from targets.target import load_target, target_names
from tests.support.project import Project, make_project
from tests.support.reports import make_report

USUAL = DefaultLimits(
    first_token_ms=SizedLimit(at_least=100, per_gb=300, per_gb_and_prompt_token=50),
    token_ms=SizedLimit(at_least=10, per_gb=300),
)
MB = 10**6


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path)


def with_default_limits(
    weights_bytes: int, prompt_tokens: int = 40, **params: Any
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Return the limits of a check with ``params`` by verdict, and where they come from."""
    asked = LatencyParams.model_validate({"usual_limits": USUAL, **params})
    found, sources = asked.with_default_limits(weights_bytes, prompt_tokens)
    return {name: goal.at_most for name, goal in found.limits()}, dict(sources)


def test_limits_grow_with_the_artifact_and_the_first_with_the_prompt() -> None:
    limits, sources = with_default_limits(200 * MB)
    assert limits == {"first_token_ms": 100 + 0.2 * (300 + 50 * 40), "token_ms": 10 + 0.2 * 300}
    assert sources == {
        "first_token_ms": "default for 200 MB, 40 tokens",
        "token_ms": "default for 200 MB",
    }
    longer, _ = with_default_limits(200 * MB, prompt_tokens=400)
    assert longer["token_ms"] == limits["token_ms"]
    assert longer["first_token_ms"] == 100 + 0.2 * (300 + 50 * 400)


def test_the_smallest_model_has_the_least_limit() -> None:
    assert with_default_limits(4, 1)[0] == {"first_token_ms": 100, "token_ms": 10}


def test_a_number_of_the_config_stays_what_it_is() -> None:
    limits, sources = with_default_limits(200 * MB, token_ms=4.5)
    assert limits["token_ms"] == 4.5
    assert sources.keys() == {"first_token_ms"}
    assert with_default_limits(200 * MB, token_ms=4.5, first_token_ms=9)[1] == {}


def test_without_limits_of_the_target_there_are_none() -> None:
    assert with_default_limits(200 * MB, target_limits=False) == ({}, {})
    assert with_default_limits(200 * MB, target_limits=False, token_ms=3) == ({"token_ms": 3}, {})


@pytest.mark.parametrize("target", target_names())
def test_the_limits_of_a_target_reach_its_check(target: str, project: Project) -> None:
    rules = load_target(target)
    (check,) = (
        call
        for call in load_config(project.config, [rules]).chains[target].checks
        if call.name == "latency"
    )
    params = check.params
    assert isinstance(params, LatencyParams)
    assert params.usual_limits == rules.limits
    assert (params.first_token_ms, params.token_ms) == (None, None)


def test_a_config_cannot_change_the_rule(project: Project) -> None:
    project.edit("[passes.merge]", "[checks.latency]\nusual_limits = {}\n[passes.merge]")
    with pytest.raises(ConfigError, match="set first_token_ms and token_ms"):
        load_config(project.config, [load_target("cpu")])


@pytest.mark.parametrize(
    ("value", "source", "status"),
    [
        (50, "default for 2.7 GB", "unverified"),
        (50, "", "failed"),  # what the config asks for has to be proven
        (150, "default for 2.7 GB", "failed"),
        (None, "default for 2.7 GB", "failed"),
    ],
)
def test_what_time_was_too_short_for(value: float | None, source: str, status: str) -> None:
    verdict = Verdict(
        name="first_token_ms",
        status="failed",
        value=value,
        limit=100,
        relation="<=",
        detail="undecided: 20 samples are too few for a p90",
    )
    ended = ended_verdict(Ruling(verdict, undecided=True), 600, source)
    assert (ended.status, ended.limit_source) == (status, source)
    assert "raise max_seconds" in ended.detail
    assert ended_verdict(Ruling(verdict), 600, source).status == "failed", "it is decided"


def test_summary_and_report_say_where_a_limit_comes_from(tmp_path: Path) -> None:
    usual = Verdict(
        name="first_token_ms",
        status="passed",
        value=4123.4,
        limit=18250,
        relation="<=",
        unit="ms",
        limit_source="default for 2.7 GB, 512 tokens",
        detail="p90 at 99 % confidence",
    )
    report = make_report(usual)
    console = Console(record=True, width=80, file=(tmp_path / "out").open("w"))
    print_summary(console, report, Path("dist/tone/cpu"), 1.0, everything=True)
    (line,) = (line for line in console.export_text().splitlines() if "first_token_ms" in line)
    assert line.split("ms")[-1].strip() == "default for 2.7 GB, 512 tokens"
    assert "≤ 18,250 ms" in line
    assert "| default for 2.7 GB, 512 tokens; p90 at 99 % confidence |" in to_markdown(report)
