"""``tune`` among passes that quantize: each build is of its own way, and so is what its checks
compare it with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.plan import SourceInput, Step, StepInput
from pipeline.contract.ways import WAY
from pipeline.tuning.summary import METRIC, TuningSummary
from tests.support import plans
from tests.support.command import Quern
from tests.support.quick_builds import quick_project, report_of

Inputs = Mapping[str, StepInput | SourceInput]

PLAIN: Inputs = {"model": plans.CHECKPOINT}
SCALED: Inputs = {"model": plans.output_of("awq")}
WIDTHS: Inputs = {"widths": plans.output_of("mixed_precision")}
WAYS: Mapping[tuple[str, ...], Inputs] = {
    (): PLAIN,
    ("gptq",): {**PLAIN, "integers": plans.output_of("gptq")},
    ("awq",): SCALED,
    ("awq", "gptq"): {**SCALED, "integers": plans.output_of("awq+gptq")},
    ("mixed_precision",): {**PLAIN, **WIDTHS},
}
"""What the model builder reads in each way."""
BUILDS = [(way, 32) for way in WAYS] + [((), 64), (("mixed_precision",), 64)]
"""What suits each way: the others are for blocks of 32."""
REFERENCE: Inputs = {"reference": plans.output_of("reference")}
EXPORT: Inputs = {"float_reference": plans.output_of("float_reference")}
GRID = {"precision": "int4", "block_size": 32, "symmetric": False}
QUANTIZERS = {
    "awq": {"makes": "checkpoint", **GRID},
    "mixed_precision": {"makes": "widths"},
    "gptq": {"makes": "integers", **GRID},
}
LOOSE = {"max_mean_kl": 9.0, "max_p99_kl": 99.0}
BARE = "[passes.tune]\ntie = 0.99\nrounds = 1\nmax_trials = 2\n"
SPACE = """
[passes.tune.space]
passes = [["gptq"], ["awq", "gptq"]]
block_size = [32]
symmetric = [true]
algorithm = ["k_quant"]
threads = [1]
"""
TUNED = f"[passes.awq]\n\n[passes.gptq]\n\n{BARE}{SPACE}"
CHECKS = ("rebuild", "quantization", "scaling", "graph")


def of_ways(*roles: str) -> dict[str, StepInput | SourceInput]:
    """Return the inputs of all ways in ``roles``, under the names that a plan gives them."""
    found: dict[str, StepInput | SourceInput] = {}
    for way, inputs in WAYS.items():
        told = {**inputs}
        if "awq" in way:
            told["reference"] = plans.output_of("awq+reference")
        end = "+".join(way)
        found |= {f"{role}@{end}": one for role, one in told.items() if way and role in roles}
    return found


def making() -> list[Step]:
    """Return the steps of all ways, and what artifacts are compared with."""
    data = plans.TONES
    return [
        plans.step("awq", "pass", PLAIN, data=data),
        plans.step("mixed_precision", "pass", PLAIN, data=data),
        plans.step("gptq", "pass", PLAIN, data=data),
        plans.step("awq+gptq", "pass", SCALED, data=data, type="gptq"),
        plans.step("reference", "pass", PLAIN, data=data),
        plans.step("awq+reference", "pass", SCALED, data=data, type="reference"),
        plans.step("float_reference", "pass", {**PLAIN, **REFERENCE}, {"max_samples": 1}, data),
    ]


def searching() -> Step:
    """Return the search, which takes all builds as equally fast: the closest one is chosen."""
    params = {
        "prompt_tokens": 24,
        "new_tokens": 8,
        "rounds": 1,
        "cut_above": 0,
        "layers": 1,
        "space": {
            "passes": [[*way] for way in WAYS],
            "block_size": [32, 64],
            "symmetric": [True],
            "algorithm": ["k_quant"],
            "threads": [1],
        },
        "finalists": 1,
        "tie": 0.99,
        "quantizers": QUANTIZERS,
        "held_to": {"quantization": {"type": "quantization", "params": LOOSE}},
    }
    inputs = {**PLAIN, **REFERENCE, **EXPORT}
    inputs |= of_ways("model", "integers", "widths", "reference")
    return plans.step("tune", "pass", inputs, params)


def judging() -> list[Step]:
    """Return the checks of what was chosen, with the inputs of every way."""
    artifact: Inputs = {**PLAIN, "artifact": plans.output_of("tune")}
    rebuilt = {**artifact, **of_ways("model", "integers", "widths")}
    before: Inputs = {**REFERENCE, "unscaled_reference": plans.output_of("reference")}
    compared = {**artifact, **REFERENCE, **EXPORT, **of_ways("model", "integers", "reference")}
    return [
        plans.step("rebuild", "check", rebuilt),
        plans.step("quantization", "check", compared, LOOSE),
        plans.step("scaling", "check", {**artifact, **before, **of_ways("reference")}),
        plans.step("graph", "check", {**artifact, **of_ways("model", "widths")}),
    ]


def building() -> list[Step]:
    """Return, without any search, a build in each way and the check of its predictions."""
    steps = []
    for way, size in BUILDS:
        name, inputs = name_of(way, size), WAYS[way]
        asked = plans.output_of("awq+reference" if "awq" in way else "reference")
        params = {"algorithm": "k_quant", "threads": 1, "block_size": size}
        read = {**inputs, **EXPORT, "artifact": plans.output_of(name), "reference": asked}
        read.pop("widths", None)
        steps += [
            plans.step(name, "pass", inputs, params, type="model_builder"),
            plans.step(f"judged {name}", "check", read, type="quantization"),
        ]
    return steps


@pytest.fixture(scope="module")
def searched(
    toolchain_python: Path, material: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the folder of a search among all ways, with the checks of its artifact."""
    work = tmp_path_factory.mktemp("ways") / "work"
    steps = [*making(), searching(), *judging(), *building()]
    plans.must_run(toolchain_python, work, material, steps)
    return work


def name_of(way: tuple[str, ...], size: int) -> str:
    return f"built {'+'.join(way)} {size}"


def told(work: Path) -> TuningSummary:
    return TuningSummary.model_validate(plans.result(work, "tune").metrics[METRIC])


def choice(built: Mapping[str, Any]) -> tuple[tuple[str, ...], int]:
    return tuple(built["passes"]), built["block_size"]


def test_each_way_is_built_of_its_own_inputs(searched: Path) -> None:
    trials = told(searched).trials
    first = [trial for trial in trials if trial.stage == "build"]
    assert {trial.layers for trial in first} == {1}, "of a model that was cut, with all it reads"
    assert {choice(trial.built) for trial in first} == {*BUILDS}
    assert {trial.status for trial in first} == {"measured"}, [trial.note for trial in first]
    finals = [trial for trial in trials if trial.stage == "final"]
    assert {choice(trial.built)[0] for trial in finals} == {*WAYS}, "of each way the fastest"
    costs: dict[float, str] = {}
    for trial in finals:
        name = name_of(*choice(trial.built))
        verdicts = plans.result(searched, f"judged {name}").verdicts
        (expected,) = (verdict.value for verdict in verdicts if verdict.name == "mean_kl")
        assert trial.cost is not None
        assert trial.cost == pytest.approx(expected), name
        assert trial.bytes == sum(one.bytes for one in plans.result(searched, name).files)
        costs[trial.cost] = name
    assert len(costs) == len(WAYS), "no two ways round alike"
    chosen = told(searched).chosen
    assert chosen is not None
    way, size = choice(trials[chosen].built)
    assert name_of(way, size) == costs[min(costs)]
    assert plans.result(searched, "tune").metrics[WAY] == [*way]
    made = plans.result(searched, name_of(way, size)).files
    assert plans.result(searched, "tune").files == made
    assert set(told(searched).left_out) == QUANTIZERS.keys() - {*way}
    assert "passes" not in told(searched).pinned


def test_the_artifact_is_judged_by_what_it_was_made_of(
    searched: Path, toolchain_python: Path, material: Path, tmp_path: Path
) -> None:
    verdicts = [one for name in CHECKS for one in plans.result(searched, name).verdicts]
    assert {one.status for one in verdicts} <= {"passed", "unverified"}, verdicts
    passed = {one.name for one in verdicts if one.status == "passed"}
    assert {"same_weights", "mean_kl", "same_function", "layer_scales"} <= passed
    # If it said another way, everything would be compared with that one.
    work = tmp_path / "work"
    shutil.copytree(searched, work)
    file = work / "tune" / "result.json"
    result = json.loads(file.read_text())
    way = result["metrics"][WAY]
    result["metrics"][WAY] = next(
        [*other] for other in (("gptq",), ("awq", "gptq")) if [*other] != way
    )
    file.write_text(json.dumps(result))
    for name in CHECKS:
        shutil.rmtree(work / name)
    plans.must_run(toolchain_python, work, material, judging())
    assert "same_weights" in plans.failed_verdicts(work, "rebuild")
    assert "chosen_integers" in plans.failed_verdicts(work, "quantization")


@pytest.mark.slow
def test_a_whole_build_shows_what_was_chosen_and_can_be_pinned(
    quern: Quern, tmp_path: Path
) -> None:
    project = quick_project(tmp_path / "project", seed=29)
    project.edit("[passes.model_builder]\n", TUNED)
    options = ("--config", str(project.config), "--dist", str(tmp_path / "dist"))
    ran = quern("build", *options)
    assert ran.code == 0, ran.stdout + ran.stderr
    report = report_of(tmp_path / "dist")
    assert {one["status"] for one in report["checks"]} <= {"passed", "unverified"}
    assert {"chosen_integers", "same_weights"} <= {one["name"] for one in report["checks"]}
    page = (tmp_path / "dist" / "small" / "cpu" / "report.md").read_text()
    assert "| passes |" in page
    assert "no build beats these" in page or "on the front" in page
    again = json.loads(quern("plan", *options, "--json").stdout)
    cached = {step["name"] for plan in again["plans"] for step in plan["steps"] if step["cached"]}
    assert {"awq", "gptq", "awq+gptq", "awq+reference"} <= cached  # tune, where none was busy
    checked = quern("check", str(tmp_path / "dist" / "small" / "cpu"))
    assert checked.code == 0, checked.stdout + checked.stderr

    # The target's table that the report ends with gives the same bytes, with the steps that were
    # made.
    artifact = tmp_path / "dist" / "small" / "cpu" / "model" / "model.onnx.data"
    chosen = artifact.read_bytes()
    (tune,) = (step for step in report["passes"] if step["name"] == "tune")
    pinned = tune["metrics"][METRIC]["pinned"]
    left_out = tune["metrics"][METRIC]["left_out"]
    text = project.config.read_text().replace(SPACE, "")
    for name in left_out:
        text = text.replace(f"[passes.{name}]\n", "")
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in pinned.items())
    tables = f"[passes.model_builder]\n\n[targets.cpu.passes.model_builder]\n{lines}\n"
    project.config.write_text(text.replace(BARE, tables))
    ran = quern("build", *options)
    assert ran.code == 0, ran.stdout + ran.stderr
    assert artifact.read_bytes() == chosen
    made = {step["name"]: step["cached"] for step in report_of(tmp_path / "dist")["passes"]}
    assert not made["model_builder"]
    assert all(made[name] for name in ("awq", "gptq") if name not in left_out)
