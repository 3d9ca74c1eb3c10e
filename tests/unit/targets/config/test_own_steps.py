"""Passes and checks of the user's own: mistakes in them, their keys, and how they are loaded."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import tomli

from pipeline.checks.base import BaseCheck
from pipeline.contract.plan import PathRef, Plan, SourceInput, Step
from pipeline.contract.result import StepResult
from pipeline.passes.base import BasePass
from pipeline.run.code_digest import CodeDigests, script_code
from pipeline.scripts.moved import MOVED, RENAMED_ATTRIBUTES
from targets.cache import Cache
from targets.cli.options import PROJECT
from targets.config.json_schema import build_schema
from targets.config.load import load_config
from targets.errors import ConfigError
from targets.planner.build_plan import BuildPlan
from targets.target import load_target
from tests.support.own_steps import add_own_steps, own
from tests.support.planning import build, make_planner, replan
from tests.support.project import Project, make_project

EXAMPLE = PROJECT / "docs" / "examples" / "own-steps" / "own-steps.toml"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = make_project(tmp_path / "project")
    add_own_steps(project)
    return project


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def plan_of(project: Project, cache: Cache) -> BuildPlan:
    return make_planner(project, cache).plan()


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_it_is_planned_where_its_kinds_put_it(project: Project, cache: Cache) -> None:
    plan = plan_of(project, cache)
    scale = plan["scale"].step
    assert scale.type == "my_pass.py:Scale"
    assert scale.params == {"by": 3.0}
    assert [source.step for source in _made(scale)] == ["merge"]
    assert [source.step for source in _made(plan["model_builder"].step)] == ["scale"]
    assert plan["polite"].step.params == {"words": ["no"]}
    assert plan.artifact == "model_builder"
    assert [note for note in plan.notes if not note.startswith("model_builder: ")] == []


def test_a_pass_over_the_artifact_makes_the_artifact(project: Project, cache: Cache) -> None:
    project.edit(
        "[checks.polite]", '[passes.threads]\ntype = "my_pass.py:Threads"\n[checks.polite]'
    )
    plan = plan_of(project, cache)
    assert (plan.artifact, plan.artifact_kind) == ("threads", "onnx")
    graph = plan["graph"].step.inputs
    assert _name(graph["artifact"]) == "threads"
    assert _name(graph["model"]) == "scale"
    assert _name(plan["reference"].step.inputs["model"]) == "scale"
    assert plan["threads"].step.target == "cpu"


def test_the_step_gets_the_needed_files_and_no_others(project: Project, cache: Cache) -> None:
    plan = plan_of(project, cache)
    mounts = {mount.root: mount for mount in plan.mounts}
    code = plan["scale"].step.code
    assert code is not None
    mount = mounts[code.ref.root]
    assert not mount.writable
    assert own(mount.source) == {
        *("my_pass.py", "helper.py", "tools/__init__.py", "tools/deep.py", "tools/deeper.py"),
    }
    assert not list(project.folder.rglob("__pycache__"))
    (mount.source / "helper.py").write_text("factor = 0\n")
    plan_of(project, cache)
    assert "factor = 2" in (mount.source / "helper.py").read_text()


@pytest.mark.parametrize("edited", ["my_pass.py", "helper.py", "tools/deeper.py"])
def test_its_code_is_in_its_key(project: Project, cache: Cache, edited: str) -> None:
    build(project, cache)
    (project.folder / edited).write_text((project.folder / edited).read_text() + "# new\n")
    reasons = replan(project, cache)
    assert reasons["scale"] == "its code changed"
    assert "merge" not in reasons
    assert "model_builder" in reasons


def test_a_check_of_ones_own_is_measured_again_alone(project: Project, cache: Cache) -> None:
    build(project, cache)
    edit(project.folder / "checks" / "mine.py", "NotImplementedError", "AssertionError")
    (project.folder / "unrelated.py").write_text("changed = True\n")
    assert replan(project, cache) == {"polite": "its code changed"}


def test_where_it_lies_does_not_matter(project: Project, cache: Cache) -> None:
    build(project, cache)
    project.folder.rename(project.folder.with_name("moved"))
    moved = Project(project.folder.with_name("moved"))
    assert replan(moved, cache) == {}
    (moved.folder / "steps").mkdir()
    for name in ("my_pass.py", "helper.py", "tools"):
        (moved.folder / name).rename(moved.folder / "steps" / name)
    moved.edit("my_pass.py:Scale", "steps/my_pass.py:Scale")
    assert replan(moved, cache) == {}


def test_what_it_uses_of_pipeline_is_in_its_digest(project: Project, tmp_path: Path) -> None:
    code = script_code(project.folder / "my_pass.py")
    assert "pipeline.contract.schema" in code.imports
    root = tmp_path / "other"
    for name in ("__init__", "passes/__init__", "passes/base", "contract/__init__"):
        file = root / "pipeline" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    for name in ("contract/schema", "contract/frozen", "other"):
        (root / "pipeline" / f"{name}.py").write_text("")
    before = CodeDigests(root).script_digest(code)
    (root / "pipeline/other.py").write_text("x = 1\n")
    assert CodeDigests(root).script_digest(code) == before
    (root / "pipeline/contract/schema.py").write_text("x = 1\n")
    assert CodeDigests(root).script_digest(code) != before


@pytest.mark.parametrize(
    ("file", "old", "new", "key", "said"),
    [
        ("small.toml", "my_pass.py:Scale", "my_pas.py:Scale", "type", "no file 'my_pas.py'"),
        ("small.toml", "my_pass.py:Scale", "my_pass.py:Scal", "type", "did you mean 'Scale'?"),
        ("small.toml", "my_pass.py:Scale", "my_pass.py", "type", "PATH/TO/FILE.py:CLASS"),
        ("small.toml", "my_pass.py:Scale", "my_pass.py:factor", "type", "does not derive from"),
        ("small.toml", "my_pass.py:Scale", "checks/mine.py:Polite", "type", "is not a pass"),
        ("small.toml", "my_pass.py:Scale", "my_pass.py:BasePass", "type", "has no method `run`"),
        ("small.toml", "by = 3", "bye = 3", "bye", "did you mean 'by'?"),
        ("small.toml", "by = 3", 'by = "much"', "by", "not 'much'"),
        ("my_pass.py", "    Params = Scale", "    Other = Scale", "type", "no `Params`"),
        (
            "my_pass.py",
            '    produces = "checkpoint"\n',
            "",
            "type",
            "does not say what",
        ),
        ("my_pass.py", '= "checkpoint"\n', '= "chekpoint"\n', "type", "'chekpoint' in `produces`"),
        ("my_pass.py", "def run", "def go", "type", "has no method `run`"),
        (
            "my_pass.py",
            "    consumes",
            '    sources = ("bye",)\n    consumes',
            "type",
            "'bye' in `so",
        ),
        ("my_pass.py", "    consumes", "    sources = 3\n    consumes", "type", "not a tuple"),
        ("my_pass.py", "    consumes", "    network = True\n    consumes", "type", "the network"),
        ("my_pass.py", "    consumes", "    packages = 'cpu'\n    consumes", "type", "`packages`"),
        ("my_pass.py", "class Scale(", "class Scale(]", "type", "SyntaxError"),
    ],
)
def test_mistake_is_placed_and_explained(
    project: Project, file: str, old: str, new: str, key: str, said: str
) -> None:
    edit(project.folder / file, old, new)
    with pytest.raises(ConfigError) as caught:
        load_config(project.config, [load_target("cpu")])
    found = [problem for problem in caught.value.problems if said in str(problem)]
    assert found, str(caught.value)
    line = project.config.read_text().splitlines().index("[passes.scale]") + 1
    assert found[0].key == f"passes.scale.{key}"
    assert found[0].line == line + (1 if key == "type" else 2)


@pytest.mark.parametrize(
    ("module", "name", "now"),
    [(module, name, now) for module, names in MOVED.items() for name, now in names.items()],
)
def test_an_import_from_where_a_name_was_says_where_it_is(
    project: Project, module: str, name: str, now: str
) -> None:
    exec(now, {})  # noqa: S102 - it names what is there
    before = f"from {module} import {name}\n"
    edit(project.folder / "my_pass.py", "from helper", f"{before}from helper")
    try:
        load_config(project.config, [load_target("cpu")])
    except ConfigError as refused:
        (problem,) = refused.problems
        assert problem.key == "passes.scale.type"
        assert now in str(problem)
    else:  # the module still needs the name itself, so that it can be imported from both
        assert hasattr(import_module(module), name)


@pytest.mark.parametrize(("former", "now"), RENAMED_ATTRIBUTES.items())
def test_a_former_attribute_is_refused_with_its_name_now(
    project: Project, former: str, now: str
) -> None:
    """One that nobody reads any more would else be ignored without a word."""
    assert any(hasattr(base, now) for base in (BasePass, BaseCheck))
    edit(
        project.folder / "my_pass.py",
        "    Params = Scale",
        f"    {former} = ()\n    Params = Scale",
    )
    with pytest.raises(ConfigError, match=f"'Scale' has `{former}`, which is `{now}` now"):
        load_config(project.config, [load_target("cpu")])


def test_a_name_that_never_was_is_not_called_moved(project: Project) -> None:
    edit(project.folder / "my_pass.py", "import BasePass", "import BasPass")
    with pytest.raises(ConfigError, match="cannot import name 'BasPass'") as caught:
        load_config(project.config, [load_target("cpu")])
    assert "elsewhere" not in str(caught.value)


def test_all_that_is_wrong_with_a_class_is_said_at_once(project: Project) -> None:
    edit(project.folder / "my_pass.py", "    Params = Scale", "    Other = Scale")
    edit(project.folder / "my_pass.py", "def run", "def go")
    edit(project.folder / "checks" / "mine.py", "words: tuple", "word: tuple")
    with pytest.raises(ConfigError) as caught:
        load_config(project.config, [load_target("cpu")])
    found = {(problem.key, problem.message) for problem in caught.value.problems}
    assert ("passes.scale.type", "'Scale' has no method `run`") in found
    assert any("no `Params`" in message for _, message in found)
    assert ("checks.polite.words", "unknown key") in found


def test_a_built_in_step_is_not_replaced_by_its_name(project: Project) -> None:
    project.edit("[checks.polite]", "[checks.quality]")
    with pytest.raises(ConfigError, match="'quality' is a built-in check"):
        load_config(project.config, [load_target("cpu")])


def test_one_targets_parameters_are_laid_over(project: Project, cache: Cache) -> None:
    project.edit("[checks.polite]", "[targets.cpu.passes.scale]\nby = 7\n[checks.polite]")
    assert plan_of(project, cache)["scale"].step.params == {"by": 7.0}


def test_a_parameter_does_not_take_an_inputs_place(project: Project) -> None:
    edit(project.folder / "my_pass.py", "    consumes", '    sources = ("model",)\n    consumes')
    edit(project.folder / "my_pass.py", "by:", "model: str = 'helper.py'\n    by:")
    with pytest.raises(ConfigError, match="'model' in `sources`, which is the name of an input"):
        load_config(project.config, [load_target("cpu")])


@pytest.mark.parametrize(
    "statement",
    [
        "import os; from helper import factor",
        "try: from helper import factor\nexcept ImportError: raise",
    ],
)
def test_an_import_counts_in_whatever_form(project: Project, cache: Cache, statement: str) -> None:
    edit(project.folder / "my_pass.py", "from helper import factor", statement)
    before = plan_of(project, cache)["scale"].step.key
    edit(project.folder / "helper.py", "factor = 2", "factor = 3")
    assert plan_of(project, cache)["scale"].step.key != before


def test_a_check_that_compares_answers_needs_held_out_rows(project: Project) -> None:
    edit(
        project.folder / "checks" / "mine.py",
        "    Params = PoliteParams",
        '    Params = PoliteParams\n    needs = ("artifact", "tuned_answers")',
    )
    project.edit("[data.tone]", "[data.tone]\nsplit = { eval = 0 }")
    with pytest.raises(ConfigError) as caught:
        load_config(project.config, [load_target("cpu")])
    (problem,) = [item for item in caught.value.problems if item.key == "checks.polite"]
    assert "nothing is held out" in problem.message


def test_editors_do_not_flag_it(project: Project) -> None:
    from jsonschema import Draft7Validator

    schema = Draft7Validator(build_schema())
    project.edit("[checks.polite]", "[targets.cpu.passes.scale]\nby = 7\n[checks.polite]")
    assert not list(schema.iter_errors(tomli.loads(project.config.read_text())))
    assert not list(schema.iter_errors(tomli.loads(EXAMPLE.read_text())))
    project.edit("my_pass.py:Scale", "my_pass:Scale")
    assert list(schema.iter_errors(tomli.loads(project.config.read_text())))


def test_the_shipped_example_is_planned(cache: Cache) -> None:
    plan = make_planner(Project(EXAMPLE.parent), cache, config=EXAMPLE).plan()
    assert plan["clip"].step.type == "clip.py:ClipOutliers"
    assert plan["polite"].step.type == "polite.py:Polite"


TWO = """\
from pathlib import Path
from pipeline.contract.frozen import Frozen
from pipeline.passes.base import BasePass
from helper import said


class Params(Frozen):
    text: str = "x"


class Say(BasePass[Params]):
    Params = Params
    produces = "checkpoint"

    def run(self, inputs, params, out_dir):
        from helper import said as later
        import late
        (out_dir / "said.txt").write_text(said + later + late.word + params.text)
        return RETURNED
"""


def run_own(
    tmp_path: Path, returned: str = "{}", helper: str = ""
) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Run two passes whose helpers have the same names, as the container's process does."""
    steps = []
    for name in ("one", "two"):
        folder = tmp_path / "code" / name
        folder.mkdir(parents=True)
        (folder / "pipeline.py").write_text(TWO.replace("RETURNED", returned))
        (folder / "helper.py").write_text(f"said = '{name}'\n{helper}\n")
        (folder / "late.py").write_text(f"word = ' late {name} '\n")
        steps.append(
            Step(
                name=name,
                kind="pass",
                type="pipeline.py:Say",
                target="cpu",
                toolchain="t",
                key=name,
                seed=0,
                code=SourceInput(ref=PathRef(root="code", path=name), digest=""),
            )
        )
    work = tmp_path / "work"
    work.mkdir()
    roots = {"work": str(work), "code": str(tmp_path / "code")}
    file = tmp_path / "plan.json"
    file.write_text(Plan(build="b", steps=tuple(steps), roots=roots).model_dump_json())
    command = [sys.executable, "-m", "pipeline", str(file)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False), work


def test_helpers_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    ran, work = run_own(tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for name in ("one", "two"):
        said = (work / name / "output" / "said.txt").read_text()
        assert said == f"{name}{name} late {name} x"
        result = StepResult.model_validate_json((work / name / "result.json").read_text())
        assert result.type == "pipeline.py:Say"


def test_a_pass_that_returns_no_figures_is_told(tmp_path: Path) -> None:
    ran, work = run_own(tmp_path, returned="None")
    assert ran.returncode == 1
    assert "'pipeline.py:Say' returned NoneType from run, not dict" in ran.stdout
    assert not (work / "one").exists()


@pytest.mark.parametrize(
    ("helper", "said"),
    [("import no_such", "No module named 'no_such'"), ("raise SystemExit", "SystemExit")],
)
def test_a_file_that_cannot_be_imported_is_told_where_it_runs(
    tmp_path: Path, helper: str, said: str
) -> None:
    ran, _ = run_own(tmp_path, helper=helper)
    assert ran.returncode == 1
    assert "pipeline.py cannot be imported" in ran.stdout
    assert said in ran.stdout
    assert '"cause":"bad_input"' in ran.stdout


def _made(step: Step) -> list[Any]:
    return [source for source in step.inputs.values() if not isinstance(source, SourceInput)]


def _name(source: Any) -> str:
    return str(source.step)
