"""With no row held out, a tuned model is held against its base by how both read plain English."""

from __future__ import annotations

from pathlib import Path

import pytest

from targets.cache import Cache
from tests.support.planned_steps import inputs
from tests.support.planning import make_planner
from tests.support.project import Project, make_project

ALL_TRAINED_ON = 'label = "tone"\nsplit = { eval = 0 }\n'


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project")


def steps(project: Project, tmp_path: Path) -> set[str]:
    plan = make_planner(project, Cache(tmp_path / "cache")).plan()
    return {planned.step.name for planned in plan.steps}


def test_it_stands_in_for_quality(project: Project, tmp_path: Path) -> None:
    assert steps(project, tmp_path).isdisjoint({"general", "read-base", "read-tuned"})
    project.edit('label = "tone"\n', ALL_TRAINED_ON)
    plan = make_planner(project, Cache(tmp_path / "cache")).plan()
    names = {planned.step.name for planned in plan.steps}
    assert "quality" not in names
    assert inputs(plan, "read-base") == {"model": "pretrain"}
    assert inputs(plan, "read-tuned") == {"model": "merge"}
    assert inputs(plan, "general") == {"base_reading": "read-base", "tuned_reading": "read-tuned"}


def test_who_skips_quality_skips_it_too(project: Project, tmp_path: Path) -> None:
    project.edit('label = "tone"\n', ALL_TRAINED_ON)
    project.edit('name = "small"\n', 'name = "small"\nskip_checks = ["quality"]\n')
    assert "general" not in steps(project, tmp_path)


def test_what_nobody_trained_has_no_base(project: Project, tmp_path: Path) -> None:
    project.edit('label = "tone"\n', ALL_TRAINED_ON)
    project.edit("[passes.lora]\nr = 8\n\n[passes.merge]\n\n", "")
    assert "general" not in steps(project, tmp_path)


def test_it_can_be_asked_for_and_limited(project: Project, tmp_path: Path) -> None:
    text = project.config.read_text()
    project.config.write_text(f"{text}\n[checks.general]\nmax_general_perplexity_increase = 1\n")
    assert {"general", "quality", "read-base"} <= steps(project, tmp_path)
