"""Which passes keep what an artifact, or a merge, is held against."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from pipeline.contract.roles import ROLES, Role
from pipeline.run.registry import pass_types
from targets.cache import Cache
from targets.target import load_target
from tests.support.own_steps import SCALE
from tests.support.planned_steps import inputs, names
from tests.support.planning import make_planner
from tests.support.project import Project, make_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def test_each_transformation_is_held_against_what_it_was_made_from(
    project: Project, cache: Cache
) -> None:
    plan = make_planner(project, cache).plan()
    assert inputs(plan, "reference") == {"model": "merge"}
    assert inputs(plan, "float_reference") == {"model": "merge", "reference": "reference"}
    beside = {"model": "pretrain", "adapter": "lora", "reference": "reference"}
    assert inputs(plan, "adapted_reference") == beside
    merging = {"merged_reference": "reference", "adapted_reference": "adapted_reference"}
    merging |= {"merged": "merge", "unmerged": "pretrain", "merged_adapter": "lora"}
    assert inputs(plan, "merging") == merging
    compared = {"artifact": "model_builder", "reference": "reference"}
    compared |= {"float_reference": "float_reference"}
    assert inputs(plan, "conversion") == compared
    assert inputs(plan, "quantization") == {**compared, "model": "merge"}
    assert inputs(plan, "quality")["float_reference"] == "float_reference"


@pytest.mark.parametrize("name", ["cpu", "cuda", "directml", "webgpu"])
def test_the_export_is_one_that_the_target_allows(name: str) -> None:
    precision = load_target(name).precision
    assert precision.float_export in precision.allowed
    assert precision.float_export in ("fp32", "fp16")


def test_an_artifact_that_is_not_quantized_needs_no_export(project: Project, cache: Cache) -> None:
    project.edit("[passes.model_builder]", '[passes.model_builder]\nprecision = "fp32"')
    plan = make_planner(project, cache).plan()
    assert "float_reference" not in names(plan)
    assert inputs(plan, "conversion") == {"artifact": "model_builder", "reference": "reference"}


def test_limits_of_checks_and_evaluation_reach_the_export(project: Project, cache: Cache) -> None:
    tables = '[evaluation]\nmax_samples = 5\n\n[checks.quantization]\nmax_export = "16g"\n'
    project.config.write_text(project.config.read_text() + tables)
    params = make_planner(project, cache).plan()["float_reference"].step.params
    assert (params["max_samples"], params["max_export"]) == (5, 16 << 30)
    assert params["precision"] == "fp32"


def test_options_of_the_artifacts_builder_reach_the_export(project: Project, cache: Cache) -> None:
    asked = "[passes.model_builder]\nextra_options = { windowed_kv_cache = true }"
    project.edit("[passes.model_builder]", asked)
    params = make_planner(project, cache).plan()["float_reference"].step.params
    assert params["extra_options"] == {"windowed_kv_cache": True}


def test_a_merge_is_judged_before_other_passes_change_it(project: Project, cache: Cache) -> None:
    (project.folder / "my_pass.py").write_text(SCALE)
    (project.folder / "helper.py").write_text("factor = 2\n")
    scale = '[passes.scale]\ntype = "my_pass.py:Scale"\n\n[passes.model_builder]'
    project.edit("[passes.model_builder]", scale)
    plan = make_planner(project, cache).plan()
    assert inputs(plan, "reference") == {"model": "scale"}
    assert inputs(plan, "reference-merged") == {"model": "merge"}
    assert inputs(plan, "merging")["merged_reference"] == "reference-merged"
    assert inputs(plan, "merging")["merged"] == "merge"


def test_a_merge_goes_into_the_base_that_it_was_asked_to(project: Project, cache: Cache) -> None:
    project.edit("[passes.merge]", '[passes.merge]\ninto = "original"')
    plan = make_planner(project, cache).plan()
    assert plan["adapted_reference"].step.params["into"] == "original"


def test_without_a_merge_there_is_none_to_judge(project: Project, cache: Cache) -> None:
    project.edit("[passes.lora]\nr = 8\n\n[passes.merge]\n\n", "")
    plan = make_planner(project, cache).plan()
    assert {"merging", "adapted_reference"}.isdisjoint(names(plan))
    assert not [note for note in plan.notes if "merging" in note]
    project.config.write_text(project.config.read_text() + "\n[checks.merging]\n")
    notes = make_planner(project, cache).plan().notes
    assert "there is nothing in this chain that the check 'merging' applies to" in notes


def test_every_role_stands_in_the_table_once_what_it_is_made_beside_is_known() -> None:
    assert tuple(ROLES) == get_args(Role)
    before: set[str] = set()
    for role, source in ROLES.items():
        assert {source.beside, source.same_as} - {None} <= before
        assert not source.made_by or source.made_by in pass_types()
        before.add(role)


NEEDY = """\
from pipeline.checks.base import BaseCheck, Outcome
from pipeline.contract.frozen import Frozen


class Params(Frozen):
    pass


class Needy(BaseCheck[Params]):
    Params = Params
    needs = ("merged_reference",)

    def run(self, inputs, params):
        return Outcome(())
"""


def test_a_role_is_made_for_whatever_check_needs_it(project: Project, cache: Cache) -> None:
    (project.folder / "needy.py").write_text(NEEDY)
    text = project.config.read_text()
    skipped = 'skip_checks = ["merging", "conversion", "quantization", "quality", "rebuild"]\n'
    project.config.write_text(f'{skipped}{text}\n[checks.needy]\ntype = "needy.py:Needy"\n')
    plan = make_planner(project, cache).plan()
    assert "adapted_reference" not in names(plan)
    (made,) = inputs(plan, "needy").values()
    assert inputs(plan, made) == {"model": "merge"}
