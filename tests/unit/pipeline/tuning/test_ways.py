"""Passes that quantize before ``tune``, which chooses among them: what is planned, and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tomli

from pipeline.builder.quantizer import Quantizer
from pipeline.contract.ways import input_of, of_way, role_of, way_of
from pipeline.tuning.cut import _cut_widths
from pipeline.tuning.params import TuneParams
from pipeline.tuning.summary import TuningSummary, describe_value
from pipeline.weights.widths import Widths
from targets.cache import Cache
from targets.config.load import load_config
from targets.errors import ConfigError
from targets.report.tuning_rows import pinned
from targets.target import load_target
from tests.support.planned_steps import inputs, names
from tests.support.planning import make_planner
from tests.support.project import Project, make_project

BUILDER = "[passes.model_builder]\n"
THREE = "[passes.awq]\n\n[passes.mixed_precision]\n\n[passes.gptq]\n\n"
WAYS = '[passes.tune.space]\npasses = [[], ["gptq"], ["awq"], ["gptq", "awq"]]\n'


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project")


def searching(project: Project, before: str, space: str, tune: str = "") -> None:
    """Put ``tune`` with a ``space`` in the place of the model builder, and passes ``before`` it."""
    text = project.config.read_text()
    assert BUILDER in text
    project.config.write_text(text.replace(BUILDER, f"{before}[passes.tune]\n{tune}\n{space}\n"))


GPTQ_AWQ = {
    "awq": Quantizer(makes="checkpoint", block_size=32, symmetric=False),
    "gptq": Quantizer(makes="integers", block_size=32, symmetric=False),
}


# What is searched over.


def test_each_way_has_the_builds_that_suit_it() -> None:
    space = {
        "passes": [[], ["gptq", "awq"]],
        "block_size": [32, 64],
        "algorithm": ["default", "k_quant"],
        "symmetric": [True],
    }
    params = TuneParams.model_validate({"space": space, "quantizers": GPTQ_AWQ})
    assert params.ways == ((), ("awq", "gptq")), "in their order, whatever the config's"
    points = params.built_points
    plain = [point for point in points if point["passes"] == []]
    assert len(plain) == 4
    # Of blocks of 32, and with zero points, which the default has not.
    assert points[4:] == ({"passes": ["awq", "gptq"], "block_size": 32, "algorithm": "k_quant"},)
    assert params.way_at(points[-1]) == ("awq", "gptq")
    assert params.builder(points[-1]).block_size == 32
    again = TuneParams.model_validate(params.model_dump(mode="json"))
    assert again.built_points == points


def test_without_the_axis_all_passes_are_used() -> None:
    params = TuneParams.model_validate({"quantizers": GPTQ_AWQ})
    assert params.ways == (("awq", "gptq"),)
    assert {str(point) for point in params.built_points} == {
        str({"block_size": 32, "symmetric": True, "algorithm": "k_quant"}),
        str({"block_size": 32, "symmetric": False, "algorithm": "default"}),
    }
    assert params.told(params.built_points[0]) == {}


def test_of_several_ways_one_is_left() -> None:
    inputs = {"model": 1, "model@awq": 2, "integers@gptq": 3, "integers@awq+gptq": 4}
    assert of_way(inputs, ()) == {"model": 1}
    assert of_way(inputs, ("gptq",)) == {"model": 1, "integers": 3}
    assert of_way(inputs, ("awq",)) == {"model": 2}
    assert {role_of(input_of("model", way)) for way in (("awq",), ("a", "b"))} == {"model"}
    assert way_of({"way": ["awq", "gptq"]}) == ("awq", "gptq")
    assert way_of({}) == ()


def test_widths_are_cut_as_a_model_is() -> None:
    names = tuple(f"model.layers.{at}.mlp.up_proj.weight" for at in (0, 3, 4))
    cut = _cut_widths(Widths(int8=(*names, "lm_head.weight"), int4=names[1:]), 4)
    assert cut == Widths(int8=(*names[:2], "lm_head.weight"), int4=names[1:2])


# What is planned.


def test_every_way_is_planned_and_the_search_reads_all(project: Project, tmp_path: Path) -> None:
    before = "[passes.awq]\n\n[passes.gptq]\n\n"
    searching(project, before, WAYS)
    plan = make_planner(project, Cache(tmp_path / "cache")).plan()
    assert inputs(plan, "awq") == inputs(plan, "gptq") == {"model": "merge"}
    assert inputs(plan, "awq+gptq") == {"model": "awq"}
    ways = {
        "model@awq": "awq",
        "model@awq+gptq": "awq",
        "integers@gptq": "gptq",
        "integers@awq+gptq": "awq+gptq",
        "reference@awq": "awq+reference",
        "reference@awq+gptq": "awq+reference",
    }
    tune = inputs(plan, "tune")
    assert ways.items() <= tune.items()
    assert tune["model"] == "merge"
    assert (tune["reference"], tune["float_reference"]) == ("reference", "float_reference")
    # What artifacts are compared with is the model before any of the passes.
    assert inputs(plan, "float_reference") == {"model": "merge", "reference": "reference"}
    assert inputs(plan, "evaluate-tuned") == {"model": "merge"}
    read = {name for name in ways if role_of(name) in ("model", "integers")}
    assert {name for name in inputs(plan, "rebuild") if "@" in name} == read
    scaling = {"unscaled_reference": "reference", "reference": "reference"}
    compared = {name for name in ways if role_of(name) == "reference"}
    assert inputs(plan, "scaling") == {**scaling, **{name: ways[name] for name in compared}}
    (note,) = (note for note in plan.notes if "passes that quantize" in note)
    assert note.endswith("are used: none of them; gptq; awq; awq + gptq")


def test_keys_hold_what_every_way_is_made_of(project: Project, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    searching(project, "[passes.awq]\n\n[passes.gptq]\n\n", WAYS)
    first = make_planner(project, cache).plan()
    text = project.config.read_text()
    project.config.write_text(text.replace("[passes.awq]\n", "[passes.awq]\nsamples = 8\n"))
    second = make_planner(project, cache).plan()

    def changed(name: str) -> bool:
        return first[name].step.key != second[name].step.key

    assert {name for name in names(first) if changed(name)} == {
        *("awq", "awq+gptq", "awq+reference", "tune"),
        *(one.step.name for one in first.steps if one.step.kind == "check"),
    } - {"merging"}


def test_widths_of_one_way_are_not_those_of_another(project: Project, tmp_path: Path) -> None:
    space = '[passes.tune.space]\npasses = [["mixed_precision"], ["mixed_precision", "gptq"]]\n'
    searching(project, THREE.replace("[passes.awq]\n\n", ""), space)
    plan = make_planner(project, Cache(tmp_path / "cache")).plan()
    assert inputs(plan, "mixed_precision+gptq") == {"model": "merge", "widths": "mixed_precision"}
    assert {name: step for name, step in inputs(plan, "tune").items() if "@" in name} == {
        "widths@mixed_precision": "mixed_precision",
        "widths@mixed_precision+gptq": "mixed_precision",
        "integers@mixed_precision+gptq": "mixed_precision+gptq",
    }
    assert "scaling" not in names(plan), "nothing is scaled"


def test_without_the_axis_the_chain_is_as_before_a_builder(
    project: Project, tmp_path: Path
) -> None:
    searching(project, THREE, "")
    plan = make_planner(project, Cache(tmp_path / "cache")).plan()
    assert inputs(plan, "gptq") == {"model": "awq", "widths": "mixed_precision"}
    read = inputs(plan, "tune")
    assert (read["model"], read["integers"], read["widths"]) == ("awq", "gptq", "mixed_precision")
    assert not [name for name in read if "@" in name]
    assert inputs(plan, "rebuild")["integers"] == "gptq"


# What is refused.


@pytest.mark.parametrize(
    ("before", "space", "key", "said"),
    [
        (
            "[passes.gptq]\n\n",
            'passes = [[], ["gtpq"], ["gptq"]]',
            "passes.tune.space.passes",
            "this config has no pass 'gtpq'",
        ),
        (
            "[passes.gptq]\n\n",
            'passes = [["gptq"], ["merge"]]',
            "passes.tune.space.passes",
            "'merge' cannot be left out",
        ),
        (
            "[passes.awq]\n\n[passes.gptq]\n\n",
            'passes = [[], ["gptq"]]',
            "passes.awq",
            "no build uses it",
        ),
        (
            "[passes.awq]\n\n[passes.gptq]\n\n",
            'passes = [["awq", "gptq"], ["gptq", "awq"]]',
            "passes.tune.space.passes",
            "two of its values name the same passes",
        ),
        (
            "[passes.gptq]\nblock_size = 64\n\n",
            'passes = [[], ["gptq"]]\nblock_size = [32, 128]',
            "passes.tune.block_size",
            "'gptq' has blocks of 64, and this of 32",
        ),
        (
            '[passes.gptq]\nprecision = "int8"\n\n',
            'passes = [[], ["gptq"]]',
            "passes.tune.precision",
            "'gptq' is for int8, and this is int4",
        ),
        (
            "[passes.gptq]\n\n",
            'algorithm = ["k_quant_mixed"]',
            "passes.tune.algorithm",
            "keeps some layers in another width",
        ),
    ],
)
def test_what_cannot_be_built_is_said_with_its_place(
    project: Project, before: str, space: str, key: str, said: str
) -> None:
    searching(project, before, f"[passes.tune.space]\n{space}\n")
    with pytest.raises(ConfigError) as raised:
        load_config(project.config, [load_target("cpu")])
    (problem,) = raised.value.problems
    assert said in problem.message
    assert problem.key == key
    lines = project.config.read_text().splitlines()
    named = lines[(problem.line or 0) - 1]
    assert named.startswith(("[passes.tune", "passes = ", f"[{key}")), named


def test_ways_of_which_one_fits_each_block_size_are_fine(project: Project) -> None:
    before = '[passes.fine]\ntype = "gptq"\n\n[passes.rough]\ntype = "gptq"\nblock_size = 64\n\n'
    space = '[passes.tune.space]\npasses = [["fine"], ["rough"]]\nblock_size = [32, 64]\n'
    searching(project, before, space)
    chain = load_config(project.config, [load_target("cpu")]).chains["cpu"]
    params = chain.passes[-1].params
    assert isinstance(params, TuneParams)
    sizes = {(str(point["passes"]), point["block_size"]) for point in params.built_points}
    assert sizes == {("['fine']", 32), ("['rough']", 64)}


def test_what_is_set_by_other_tables_cannot_be_set(project: Project) -> None:
    searching(project, "", "", "quantizers = {}\n")
    with pytest.raises(ConfigError, match="the passes before it say it"):
        load_config(project.config, [load_target("cpu")])


# What is shown.


def test_the_table_that_pins_says_what_to_remove() -> None:
    given: dict[str, Any] = {"goal": "size", "prompt_tokens": 8, "new_tokens": 8, "layers": 2}
    summary = TuningSummary(
        **given, trials=(), chosen=None, pinned={"block_size": 32}, left_out=("awq",)
    )
    text = pinned(summary, "cpu")
    assert text.startswith("# without [passes.awq]\n")
    assert tomli.loads(text)["targets"]["cpu"]["passes"]["model_builder"] == {"block_size": 32}
    assert describe_value(["awq", "gptq"]) == "awq + gptq"
    assert describe_value([]) == "none"
