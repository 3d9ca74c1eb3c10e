"""Passes that round weights before the model builder: what fits together, and what it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from targets.cache import Cache
from targets.config.load import load_config
from targets.errors import ConfigError
from targets.target import load_target
from tests.support.planned_steps import inputs
from tests.support.planning import make_planner
from tests.support.project import Project, make_project

BUILDER = "[passes.model_builder]\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project")


def rounding(project: Project, gptq: str = "", builder: str = "") -> None:
    """Put ``gptq`` before the model builder, with keys for both."""
    text = project.config.read_text()
    assert BUILDER in text
    text = text.replace(BUILDER, f"[passes.gptq]\n{gptq}\n{BUILDER}{builder}")
    project.config.write_text(text)


def test_the_builder_and_its_proofs_read_the_integers(project: Project, tmp_path: Path) -> None:
    rounding(project)
    plan = make_planner(project, Cache(tmp_path / "cache")).plan()
    assert inputs(plan, "gptq") == {"model": "merge"}
    assert inputs(plan, "model_builder") == {"model": "merge", "integers": "gptq"}
    for check in ("rebuild", "quantization"):
        assert inputs(plan, check)["integers"] == "gptq"
        assert inputs(plan, check)["model"] == "merge"
    # What the artifact is compared with is the model before it was rounded.
    assert inputs(plan, "float_reference") == {"model": "merge", "reference": "reference"}
    assert plan["gptq"].step.data is not None
    assert plan["gptq"].step.resumes


def test_how_often_it_is_saved_changes_no_key(project: Project, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    rounding(project)
    first = make_planner(project, cache).plan()["gptq"].step.key
    text = project.config.read_text()
    for line, same in (("save_layers = 2", True), ("damping = 0.02", False)):
        project.config.write_text(text.replace("[passes.gptq]\n", f"[passes.gptq]\n{line}\n"))
        assert (make_planner(project, cache).plan()["gptq"].step.key == first) is same


@pytest.mark.parametrize(
    ("gptq", "builder", "key", "said"),
    [
        ("block_size = 64", "", "block_size", "'gptq' has blocks of 64, and this of 32"),
        ('precision = "int8"', "", "precision", "'gptq' rounds to int8, and this is int4"),
        ("", 'algorithm = "default"', "symmetric", "chooses zero points, and this stores none"),
        ("", 'algorithm = "k_quant_mixed"', "algorithm", "keeps some layers in another width"),
        (
            "",
            'algorithm = "k_quant"\nmixed_precision = { mixed_layers = "int8" }',
            "mixed_precision",
            "keeps some layers in another width",
        ),
    ],
)
def test_what_the_builder_cannot_write_is_refused_before_any_work(
    project: Project, gptq: str, builder: str, key: str, said: str
) -> None:
    rounding(project, gptq, f"{builder}\n")
    with pytest.raises(ConfigError) as raised:
        load_config(project.config, [load_target("cpu")])
    (problem,) = raised.value.problems
    assert said in problem.message
    assert problem.key == f"passes.model_builder.{key}"


def test_zero_points_are_not_needed_where_none_are_chosen(project: Project) -> None:
    rounding(project, "symmetric = true", 'algorithm = "default"\n')
    load_config(project.config, [load_target("cpu")])


def mixed(project: Project, builder: str = "", after: str = "") -> None:
    """Put ``mixed_precision``, and what is to come ``after`` it, before the model builder."""
    text = project.config.read_text()
    text = text.replace(BUILDER, f"[passes.mixed_precision]\n\n{after}{BUILDER}{builder}\n")
    project.config.write_text(text)


def test_widths_go_to_what_rounds_and_to_their_proofs(project: Project, tmp_path: Path) -> None:
    mixed(project, after="[passes.gptq]\n\n")
    plan = make_planner(project, Cache(tmp_path / "cache")).plan()
    assert inputs(plan, "mixed_precision") == {"model": "merge"}
    assert inputs(plan, "gptq") == {"model": "merge", "widths": "mixed_precision"}
    both = {"integers": "gptq", "widths": "mixed_precision"}
    assert inputs(plan, "model_builder") == {"model": "merge", **both}
    assert inputs(plan, "graph")["widths"] == "mixed_precision"
    assert both.items() <= inputs(plan, "rebuild").items()


@pytest.mark.parametrize(
    ("builder", "key", "said"),
    [
        ('precision = "int8"', "precision", "chooses what is kept in int8, and this is int8"),
        ('algorithm = "k_quant_last"', "algorithm", "it chooses widths by itself"),
        ('algorithm = "k_quant_mixed"', "algorithm", "it chooses widths by itself"),
        (
            'mixed_precision = { last_matmul = "int8" }',
            "mixed_precision",
            "it chooses widths by itself",
        ),
    ],
)
def test_a_builder_with_widths_of_its_own_is_refused(
    project: Project, builder: str, key: str, said: str
) -> None:
    mixed(project, builder)
    with pytest.raises(ConfigError) as raised:
        load_config(project.config, [load_target("cpu")])
    (problem,) = raised.value.problems
    assert said in problem.message
    assert problem.key == f"passes.model_builder.{key}"


def test_widths_that_nothing_heeds_are_refused(project: Project) -> None:
    text = project.config.read_text()
    after = text.replace("[passes.merge]\n", "[passes.mixed_precision]\n\n[passes.merge]\n")
    project.config.write_text(after)
    with pytest.raises(ConfigError) as raised:
        load_config(project.config, [load_target("cpu")])
    (problem,) = raised.value.problems
    assert problem.message == "the widths made by 'mixed_precision' are not used by any later pass"


def test_integers_that_nothing_writes_are_refused(project: Project) -> None:
    text = project.config.read_text()
    after = text.replace("[passes.merge]\n", "[passes.gptq]\n\n[passes.merge]\n")
    project.config.write_text(after)
    with pytest.raises(ConfigError) as raised:
        load_config(project.config, [load_target("cpu")])
    (problem,) = raised.value.problems
    assert problem.message == "the integers made by 'gptq' are not used by any later pass"
    assert problem.key == "passes.gptq"
