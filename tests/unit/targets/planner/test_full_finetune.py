"""A chain without an adapter: the trained checkpoint is what is built and compared with."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.contract.plan import StepInput
from targets.cache import Cache
from targets.config.load import load_config
from targets.errors import ConfigError
from targets.target import load_target
from tests.support.planning import make_planner
from tests.support.project import Project, make_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = make_project(tmp_path / "project")
    project.edit("[passes.lora]\nr = 8\n\n[passes.merge]\n", "[passes.full_finetune]\n")
    return project


def test_the_trained_checkpoint_is_the_reference(project: Project, tmp_path: Path) -> None:
    plan = make_planner(project, Cache(tmp_path / "cache")).plan()
    names = {planned.step.name for planned in plan.steps}
    assert {"pretrain", "full_finetune", "model_builder", "evaluate-tuned"} <= names
    assert names.isdisjoint({"merge", "merging", "adapted_reference", "lora"})
    for step in ("model_builder", "evaluate-tuned", "reference", "quantization"):
        source = plan[step].step.inputs["model" if step != "quantization" else "artifact"]
        assert isinstance(source, StepInput)
        assert source.step == ("full_finetune" if step != "quantization" else "model_builder")
    base = plan["evaluate-base"].step.inputs["model"]
    assert isinstance(base, StepInput)
    assert base.step == "pretrain"


def test_it_needs_rows_to_train_on(project: Project) -> None:
    project.edit('label = "tone"\n', 'label = "tone"\nsplit = { eval = 1.0 }\n')
    with pytest.raises(ConfigError) as caught:
        load_config(project.config, [load_target("cpu")])
    assert any("passes.full_finetune" in problem.key for problem in caught.value.problems)
