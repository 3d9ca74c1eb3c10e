"""All models that are compared are asked with the same repetition penalty."""

from __future__ import annotations

from pathlib import Path

import pytest

from targets.cache import Cache
from targets.config.load import load_config
from targets.errors import ConfigError
from targets.target import load_target
from tests.support.planning import make_planner
from tests.support.project import Project, make_project

BUILDER = "[passes.model_builder]\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project")


def test_what_the_artifact_has_the_others_have(project: Project, tmp_path: Path) -> None:
    project.edit(BUILDER, f"{BUILDER}search = {{ repetition_penalty = 1.2, max_length = 99 }}\n")
    plan = make_planner(project, Cache(tmp_path / "cache")).plan()
    for name in ("evaluate-base", "evaluate-tuned"):
        assert plan[name].step.params["repetition_penalty"] == 1.2
    assert plan["float_reference"].step.params["search"] == {"repetition_penalty": 1.2}


def test_else_it_is_the_checkpoints(project: Project, tmp_path: Path) -> None:
    plan = make_planner(project, Cache(tmp_path / "cache")).plan()
    assert plan["evaluate-base"].step.params["repetition_penalty"] is None
    assert plan["float_reference"].step.params["search"] == {}


def test_it_cannot_be_set_for_some_alone(project: Project) -> None:
    project.edit(BUILDER, f"{BUILDER}\n[evaluation]\nrepetition_penalty = 1.2\n")
    with pytest.raises(ConfigError) as caught:
        load_config(project.config, [load_target("cpu")])
    (problem,) = caught.value.problems
    assert "set it in model_builder's search" in problem.message
