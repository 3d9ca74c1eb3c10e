"""Where merging and quantizing are one step, and where the merged checkpoint is still written."""

from __future__ import annotations

from pathlib import Path

import pytest

from targets.cache import Cache
from targets.errors import ConfigError
from tests.support.own_steps import SCALE
from tests.support.planned_steps import inputs, names
from tests.support.planning import make_planner
from tests.support.project import Project, make_project

READERS = ("merging", "conversion", "quantization", "quality", "rebuild")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def skip(project: Project, *checks: str) -> None:
    """Let the config skip ``checks``."""
    project.config.write_text(f"skip_checks = {list(checks)}\n{project.config.read_text()}")


def test_without_a_reader_of_the_merged_checkpoint_none_is_written(
    project: Project, cache: Cache
) -> None:
    merging = make_planner(project, cache).plan()["merge"].step.params
    skip(project, *READERS)
    plan = make_planner(project, cache).plan()
    assert "merge" not in names(plan)
    step = plan["model_builder"].step
    assert step.type == "merged_builder"
    assert inputs(plan, "model_builder") == {"model": "pretrain", "adapter": "lora"}
    assert step.params["merge"] == merging
    assert f"not checked, as the config has it: {', '.join(READERS)}" in plan.notes
    assert plan.artifact == "model_builder"


@pytest.mark.parametrize("left", READERS)
def test_one_reader_is_enough_to_keep_it(project: Project, cache: Cache, left: str) -> None:
    skip(project, *(name for name in READERS if name != left))
    plan = make_planner(project, cache).plan()
    assert plan["model_builder"].step.type == "model_builder"
    assert inputs(plan, "model_builder") == {"model": "merge"}


def test_a_pass_between_or_after_keeps_it_too(project: Project, cache: Cache) -> None:
    (project.folder / "my_pass.py").write_text(SCALE)
    (project.folder / "helper.py").write_text("factor = 2\n")
    scale = '[passes.scale]\ntype = "my_pass.py:Scale"\n\n[passes.model_builder]'
    project.edit("[passes.model_builder]", scale)
    skip(project, *READERS)
    assert "merge" in names(make_planner(project, cache).plan())


def test_what_is_skipped_must_be_there_and_have_no_table(project: Project, cache: Cache) -> None:
    text = project.config.read_text() + "\n[checks.quantization]\n"
    project.config.write_text('skip_checks = ["quantisation", "quantization"]\n' + text)
    with pytest.raises(ConfigError) as error:
        make_planner(project, cache)
    said = str(error.value)
    assert "there is no built-in check 'quantisation'" in said
    assert "did you mean 'quantization'" in said
    assert "'quantization' is to be skipped and has a table" in said


def test_a_config_cannot_name_the_joined_pass(project: Project, cache: Cache) -> None:
    project.edit("[passes.model_builder]", '[passes.model_builder]\ntype = "merged_builder"')
    with pytest.raises(ConfigError, match="no pass for a chain"):
        make_planner(project, cache)
