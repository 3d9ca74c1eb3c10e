"""Chains that end with an adapter or a checkpoint: what is planned, judged and said."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from pipeline.contract.plan import StepInput
from pipeline.verdicts.overall import overall
from targets.cache import Cache
from targets.cli.commands import check, try_
from targets.config.load import load_config
from targets.console.print_summary import print_summary
from targets.errors import ConfigError
from targets.planner.build_plan import BuildPlan
from targets.report.report_markdown import to_markdown
from targets.target import load_target
from tests.support.own_steps import CHECK
from tests.support.planning import make_planner
from tests.support.project import Project, make_project
from tests.support.reports import ACCURACY, make_report

ANY = """
[checks.any]
type = "mine.py:Any"
words = []
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = make_project(tmp_path / "project")
    project.edit("[passes.model_builder]\n", "")
    (project.folder / "mine.py").write_text(CHECK)
    return project


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def steps(plan: BuildPlan) -> list[str]:
    return [planned.step.name for planned in plan.steps]


def made_from(plan: BuildPlan, step: str, role: str) -> str:
    source = plan[step].step.inputs[role]
    assert isinstance(source, StepInput)
    return source.step


def judged_by_any(project: Project, cache: Cache) -> BuildPlan:
    """Return a plan with a check of one's own that accepts everything."""
    project.config.write_text(project.config.read_text() + ANY)
    return make_planner(project, cache).plan()


def idle(plan: BuildPlan) -> str:
    (note,) = plan.notes
    return note


def test_a_merged_checkpoint(project: Project, cache: Cache) -> None:
    plan = judged_by_any(project, cache)
    assert (plan.artifact, plan.artifact_kind) == ("merge", "checkpoint")
    assert {"latency", "graph", "conversion", "quantization", "provider"}.isdisjoint(steps(plan))
    assert "merge-for-checks" not in steps(plan)
    assert made_from(plan, "any", "artifact") == "merge"
    assert made_from(plan, "any", "tuned_answers") == "evaluate-tuned"
    assert made_from(plan, "evaluate-tuned", "model") == "merge"
    assert idle(plan).startswith("the artifact is a checkpoint, not an ONNX model; these checks")
    assert "latency" in idle(plan)
    assert "any" not in idle(plan).split(": ")[1].split(", ")


def test_an_adapter_is_merged_for_what_asks_it(project: Project, cache: Cache) -> None:
    project.edit("[passes.merge]\n", "")
    plan = judged_by_any(project, cache)
    assert (plan.artifact, plan.artifact_kind) == ("lora", "adapter")
    assert made_from(plan, "any", "artifact") == "lora"
    assert made_from(plan, "merge-for-checks", "adapter") == "lora"
    assert made_from(plan, "merge-for-checks", "model") == "pretrain"
    assert made_from(plan, "evaluate-tuned", "model") == "merge-for-checks"
    assert "the artifact is an adapter" in idle(plan)


def test_an_adapter_is_not_merged_for_nothing(project: Project, cache: Cache) -> None:
    project.edit("[passes.merge]\n", "")
    edited = CHECK.replace('("artifact", "tuned_answers")', '("artifact",)')
    (project.folder / "mine.py").write_text(edited)
    # The quality check asks the merged model too, and so does what stands in for it.
    project.edit('name = "small"\n', 'name = "small"\nskip_checks = ["quality"]\n')
    project.edit('label = "tone"\n', 'label = "tone"\nsplit.eval = 0\n')
    plan = judged_by_any(project, cache)
    assert "merge-for-checks" not in steps(plan)
    assert made_from(plan, "any", "artifact") == "lora"


def test_the_name_of_the_planners_own_merge_is_taken(project: Project) -> None:
    project.edit("[passes.merge]", "[passes.merge-for-checks]\ntype = 'merge'")
    with pytest.raises(ConfigError, match="this name is used by a built-in step"):
        load_config(project.config, [load_target("cpu")])


def test_a_chain_of_nothing_is_an_error(project: Project) -> None:
    project.edit("[passes.lora]\nr = 8\n\n[passes.merge]\n", "passes = {}")
    with pytest.raises(ConfigError, match="passes"):
        load_config(project.config, [load_target("cpu")])


@pytest.mark.parametrize("follows", ["model_builder", "qlora"])
def test_an_adapter_that_nothing_uses_is_an_error(project: Project, follows: str) -> None:
    project.edit("[passes.merge]", f"[passes.{follows}]")
    with pytest.raises(ConfigError) as caught:
        load_config(project.config, [load_target("cpu")])
    (problem,) = caught.value.problems
    assert problem.key == "passes.lora"
    assert problem.message == "the adapter made by 'lora' is not used by any later pass"
    builds = follows == "model_builder"
    separate = f", or separate_adapter after {follows}" if builds else ""
    assert problem.suggestion == f"add merge before {follows}{separate}"


@pytest.mark.parametrize("place", ["[passes.merge]", "[checks.quality]"])
def test_answers_are_no_end_of_a_chain(project: Project, place: str) -> None:
    project.config.write_text(project.config.read_text() + "\n[checks.quality]\n")
    project.edit(place, f"[passes.ask]\ntype = 'evaluate'\n\n{place}")
    with pytest.raises(ConfigError) as caught:
        load_config(project.config, [load_target("cpu")])
    assert [problem.key for problem in caught.value.problems] == ["passes.ask"]


def test_no_verdict_is_no_pass() -> None:
    assert overall([]) == "unverified"


def test_report_and_summary_say_what_it_is(tmp_path: Path) -> None:
    report = make_report(ACCURACY).model_copy(update={"artifact": "adapter"})
    text = to_markdown(report)
    assert "The artifact is the folder `model/`, an adapter: 1 files" in text
    assert "| held-out accuracy (540 samples) | base | fine-tuned |\n| --- | --- | --- |\n" in text
    assert "| | 25.0 % | 95.0 % |\n" in text
    console = Console(record=True, width=120, file=(tmp_path / "out").open("w"))
    print_summary(console, report, Path("dist/tone/cpu"), 1.0)
    shown = console.export_text()
    assert "accuracy 25.0 → 95.0 %, 4.2 MB\n  base, tuned; 540 held-out samples" in shown
    assert "what was built is an adapter" in shown


def test_report_and_summary_say_that_nothing_was_judged(tmp_path: Path) -> None:
    report = make_report().model_copy(update={"artifact": "checkpoint", "quality": {}})
    assert "# tone for cpu: unverified" in to_markdown(report)
    assert "No check applies to it: nothing is verified." in to_markdown(report)
    console = Console(record=True, width=120, file=(tmp_path / "out").open("w"))
    print_summary(console, report, Path("dist/tone/cpu"), 1.0)
    shown = console.export_text()
    assert "no check applies to a checkpoint: nothing is verified" in shown
    assert "unverified  dist/tone/cpu/model" in shown


def test_try_and_check_refuse_what_is_no_onnx_model(project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "dist" / "small" / "cpu"
    (folder / "model").mkdir(parents=True)
    report = make_report(ACCURACY).model_copy(update={"artifact": "adapter"})
    (folder / "report.json").write_text(report.model_dump_json())
    asked = ["hello", "--config", str(project.config), "--dist", str(tmp_path / "dist")]
    for command, arguments in ((try_.command, asked), (check.command, [str(folder)])):
        ran = CliRunner().invoke(command, arguments, standalone_mode=False)
        assert isinstance(ran.exception, ConfigError), ran.output
        assert "holds an adapter" in str(ran.exception)
        assert "needs an ONNX model (end the chain with model_builder)" in str(ran.exception)
