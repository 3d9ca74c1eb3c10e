"""Passes that round weights before the model builder: what fits together, and what it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from targets.cache import Cache
from targets.config.load import load_config
from targets.errors import ConfigError
from targets.target import load_target
from tests.support.planned_steps import inputs, names
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
        ('precision = "int8"', "", "precision", "'gptq' is for int8, and this is int4"),
        ("", 'algorithm = "default"', "symmetric", "is for zero points, and this stores none"),
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


def scaling(project: Project, awq: str = "", builder: str = "") -> None:
    """Put ``awq`` before the model builder, with keys for both."""
    text = project.config.read_text()
    text = text.replace(BUILDER, f"[passes.awq]\n{awq}\n{BUILDER}{builder}")
    project.config.write_text(text)


def test_what_is_built_is_scaled_and_held_against_what_was_not(
    project: Project, tmp_path: Path
) -> None:
    scaling(project)
    plan = make_planner(project, Cache(tmp_path / "cache")).plan()
    assert inputs(plan, "awq") == {"model": "merge"}
    assert plan["awq"].step.data is not None
    assert plan["awq"].step.resumes
    for step in ("model_builder", "reference", "rebuild", "quantization"):
        assert inputs(plan, step)["model"] == "awq"
    # The merge is judged as it was, by the same reference that the scaled model is held against.
    assert inputs(plan, "reference-merged") == {"model": "merge"}
    assert inputs(plan, "merging")["merged_reference"] == "reference-merged"
    assert inputs(plan, "merging")["merged"] == "merge"
    assert inputs(plan, "scaling") == {
        "reference": "reference",
        "unscaled_reference": "reference-merged",
    }


def test_without_a_merge_it_is_held_against_the_model_itself(
    project: Project, tmp_path: Path
) -> None:
    scaling(project)
    text = project.config.read_text()
    project.config.write_text(text.replace("[passes.lora]\nr = 8\n\n[passes.merge]\n\n", ""))
    plan = make_planner(project, Cache(tmp_path / "cache")).plan()
    assert inputs(plan, "scaling")["unscaled_reference"] == "reference-unscaled"
    assert inputs(plan, "reference-unscaled") == {"model": "pretrain"}


def test_integers_are_chosen_for_scaled_weights(project: Project, tmp_path: Path) -> None:
    scaling(project)
    rounding(project)
    plan = make_planner(project, Cache(tmp_path / "cache")).plan()
    assert inputs(plan, "gptq") == {"model": "awq"}
    assert inputs(plan, "model_builder") == {"model": "awq", "integers": "gptq"}
    assert "scaling" in names(plan)


def test_without_scaling_there_is_nothing_to_hold_it_against(
    project: Project, tmp_path: Path
) -> None:
    plan = make_planner(project, Cache(tmp_path / "cache")).plan()
    assert {"scaling", "reference-merged", "reference-unscaled"}.isdisjoint(names(plan))
    assert not [note for note in plan.notes if "scaling" in note]


@pytest.mark.parametrize(
    ("before", "after", "key", "said"),
    [
        (BUILDER, f"[passes.awq]\nblock_size = 64\n\n{BUILDER}", "model_builder.block_size", "64"),
        (
            BUILDER,
            f'[passes.awq]\n\n{BUILDER}algorithm = "default"\n',
            "model_builder.symmetric",
            "'awq' is for zero points, and this stores none",
        ),
        (
            "[passes.merge]\n",
            "[passes.awq]\n\n[passes.merge]\n",
            "awq",
            "the adapter made by 'lora' is for the weights as they are",
        ),
        (
            "[passes.lora]\n",
            "[passes.awq]\n\n[passes.lora]\n",
            "awq",
            "'lora' changes the weights after they were scaled",
        ),
    ],
)
def test_scaling_that_is_of_no_use_is_refused(
    project: Project, before: str, after: str, key: str, said: str
) -> None:
    text = project.config.read_text()
    assert before in text
    project.config.write_text(text.replace(before, after))
    with pytest.raises(ConfigError) as raised:
        load_config(project.config, [load_target("cpu")])
    found = {problem.key: problem.message for problem in raised.value.problems}
    assert said in found[f"passes.{key}"]
