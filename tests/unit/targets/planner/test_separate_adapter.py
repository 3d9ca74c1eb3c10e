"""Chains that keep an adapter beside the model: what is planned, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.contract.plan import StepInput
from targets.cache import Cache
from targets.config.load import load_config
from targets.errors import ConfigError
from targets.planner.build_plan import BuildPlan
from targets.target import load_target
from tests.support.planning import make_planner
from tests.support.project import Project, make_project

SEPARATE = "[passes.model_builder]\n\n[passes.separate_adapter]\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = make_project(tmp_path / "project")
    project.edit("[passes.merge]\n\n", "")
    project.edit("[passes.model_builder]\n", SEPARATE)
    return project


@pytest.fixture
def plan(project: Project, tmp_path: Path) -> BuildPlan:
    return make_planner(project, Cache(tmp_path / "cache")).plan()


def made_from(plan: BuildPlan, step: str) -> Mapping[str, str]:
    inputs = plan[step].step.inputs.items()
    return {role: source.step for role, source in inputs if isinstance(source, StepInput)}


def test_the_model_is_built_of_the_base_and_proven_with_the_adapter(plan: BuildPlan) -> None:
    base, adapter = {"model": "pretrain"}, {"adapter": "lora"}
    assert plan.artifact == "separate_adapter"
    assert made_from(plan, "model_builder") == base
    assert made_from(plan, "separate_adapter") == {**base, **adapter, "onnx": "model_builder"}
    assert made_from(plan, "merge-for-checks") == {**base, **adapter}
    assert plan["merge-for-checks"].step.params["dtype"] == "fp32"
    for step in ("evaluate-tuned", "reference"):
        assert made_from(plan, step) == {"model": "merge-for-checks"}
    for step in ("float_reference", "adapted_reference"):
        assert made_from(plan, step) == {**base, **adapter, "reference": "reference"}
    artifact = {"artifact": "separate_adapter"}
    assert made_from(plan, "rebuild") == {**artifact, **base, **adapter}
    assert made_from(plan, "adapted") == {
        **artifact,
        **base,
        **adapter,
        "adapted_reference": "adapted_reference",
    }
    assert "merging" in {planned.step.name for planned in plan.steps}


def test_builds_of_one_base_share_the_step_that_builds_it(
    project: Project, plan: BuildPlan, tmp_path: Path
) -> None:
    project.edit("r = 8", "r = 4")
    other = make_planner(project, Cache(tmp_path / "cache")).plan()
    assert other["model_builder"].step.key == plan["model_builder"].step.key
    assert other["separate_adapter"].step.key != plan["separate_adapter"].step.key


def test_other_chains_have_no_such_check(tmp_path: Path) -> None:
    plan = make_planner(make_project(tmp_path / "other"), Cache(tmp_path / "cache")).plan()
    assert "adapted" not in {planned.step.name for planned in plan.steps}
    assert "adapter" not in made_from(plan, "rebuild")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[passes.lora]\nr = 8", "[passes.lora]\nuse_dora = true", "can only be merged: use_dora"),
        ("[passes.lora]\nr = 8", '[passes.lora]\nbias = "all"', "can only be merged: bias"),
        ("[passes.lora]\nr = 8", "[passes.loha]\nr = 8", "can only be merged: it is of the kind"),
        ("[passes.lora]\nr = 8", "[passes.loftq]\nr = 8", "what quantizing lost"),
        ("[passes.lora]\nr = 8", "[passes.lora]\n[passes.merge]", "no adapter is left before it"),
        ("[passes.model_builder]", "[passes.tune]", "would hold the model without the adapter"),
        ("adapter]\n", 'adapter]\nname = "a/b"\n', "name"),
    ],
)
def test_what_cannot_be_kept_separate_is_refused_in_the_plan(
    project: Project, old: str, new: str, said: str
) -> None:
    project.edit(old, new)
    with pytest.raises(ConfigError) as refused:
        load_config(project.config, [load_target("cpu")])
    assert said in str(refused.value)


@pytest.mark.parametrize("target", ["cuda", "directml"])
def test_other_targets_are_refused_before_any_work(project: Project, target: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(project.config, [load_target(target)])
    (problem,) = refused.value.problems
    assert f"cannot be kept separate for {target}, only for cpu" in problem.message
    assert problem.key == "passes.separate_adapter"
    assert "put merge before model_builder" in problem.suggestion
