"""Tokens of many rows: a step of their own, which trainings share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.contract.plan import StepInput
from pipeline.training.params import TOKENS
from targets.cache import Cache
from targets.errors import ConfigError
from targets.planner.disk_space import disk_space
from targets.planner.shared_steps import may_stay, travels
from tests.support.planning import build, make_planner, replan
from tests.support.project import TONES, Project, make_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return one with few rows, but long ones."""
    project = make_project(tmp_path / "project")
    rows = [
        {"phrase": f"number {number} " + "word " * 15_000, "tone": TONES[number % 4]}
        for number in range(60)
    ]
    project.data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return project


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def test_a_training_on_many_rows_reads_the_tokens_of_a_step(project: Project, cache: Cache) -> None:
    plan = make_planner(project, cache).plan()
    names = [planned.step.name for planned in plan.steps]
    assert names[:3] == ["pretrain", "tokens-lora", "lora"]
    tokens, lora = plan["tokens-lora"].step, plan["lora"].step
    assert tokens.params == {"max_length": 1024, "too_long": "drop", "trust_remote_code": False}
    assert lora.inputs[TOKENS] == StepInput(step="tokens-lora", key=tokens.key)
    assert tokens.inputs == {"model": lora.inputs["model"]}


def test_one_on_few_rows_makes_them_itself(tmp_path: Path, cache: Cache) -> None:
    plan = make_planner(make_project(tmp_path / "few"), cache).plan()
    assert "tokens-lora" not in {planned.step.name for planned in plan.steps}
    assert TOKENS not in plan["lora"].step.inputs


@pytest.mark.parametrize(
    ("settings", "shared"),
    [
        ("r = 4", True),
        ("learning_rate = 0.002\nseed = 3\npacking = true", True),
        ("max_length = 64", False),
        ('too_long = "cut"', False),
    ],
)
def test_trainings_share_the_tokens_that_do_not_depend_on_their_settings(
    project: Project, cache: Cache, settings: str, shared: bool
) -> None:
    build(project, cache)
    project.edit("r = 8", settings)
    again = replan(project, cache)
    assert "lora" in again
    assert ("tokens-lora" not in again) is shared


def test_other_rows_are_other_tokens(project: Project, cache: Cache) -> None:
    build(project, cache)
    project.data.write_text(project.data.read_text().replace("number 7 ", "number seven "))
    assert replan(project, cache)["tokens-lora"] == "the data changed"


def test_a_pass_cannot_have_the_name_of_the_step(project: Project, cache: Cache) -> None:
    project.edit("[passes.merge]", '[passes.tokens-lora]\ntype = "merge"')
    with pytest.raises(ConfigError, match="this name is used by the step that makes"):
        make_planner(project, cache)


def test_they_are_counted_on_the_disk_and_stay_where_they_are_made(
    project: Project, cache: Cache
) -> None:
    plan = make_planner(project, cache).plan()
    without = disk_space(plan, {plan["tokens-lora"].step.key}).kept
    assert disk_space(plan).kept - without > 2 * project.data.stat().st_size
    assert not travels(plan["tokens-lora"], plan, checkpoints=False)
    assert may_stay(plan["tokens-lora"], plan)
    assert travels(plan["lora"], plan, checkpoints=False)
