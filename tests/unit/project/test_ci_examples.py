"""The GitHub Action and the template of Azure Pipelines: their steps are run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from targets.cli.options import PROJECT
from tests.support.pipelines import Ran, Run
from tests.support.stand_builds import Stand, World

ACTION = PROJECT / "action.yml"
EXAMPLES = PROJECT / "docs" / "examples"
TEMPLATE = EXAMPLES / "azure" / "quern.yml"
WORKFLOW = EXAMPLES / "github" / "with-action.yml"
HOSTILE = (
    "x\"; touch taken; '\n$(touch taken)\n::error::x\n"
    "##vso[task.setvariable variable=x]y\n##[add-mask]z.toml"
)
CHECKERS = ("check-jsonschema==0.37.0", "zizmor==1.19.0")


def read(file: Path) -> Any:
    # YAML 1.1 takes the key `on` for true.
    return yaml.safe_load(file.read_text("utf-8"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return a repository whose build is cached, as after an earlier run."""
    world = World(tmp_path_factory.mktemp("ci"))
    world.build(Stand("docker"))
    return world


@pytest.fixture
def quern(tmp_path: Path) -> Path:
    """Return a checkout of Quern whose front door takes the environment of these tests."""
    folder = tmp_path / "quern"
    folder.mkdir()
    for path in (*PROJECT.glob("requirements*.lock"), PROJECT / "images"):
        (folder / path.name).symlink_to(path)
    python = shlex.quote(sys.executable)
    (folder / "nox").write_text(
        '#!/bin/bash\n[ "$1 $3" = "-s --" ] || exit 99\n'
        f'export PYTHONPATH={shlex.quote(str(PROJECT))}\nexec {python} -m targets "$2" "${{@:4}}"\n'
    )
    (folder / "nox").chmod(0o755)
    return folder


def on_github(world: World, quern: Path, inputs: Mapping[str, str]) -> Ran:
    """Run the steps of the action, with what earlier runs made in the cache."""
    action = read(ACTION)
    temporary = quern.parent / "temp"
    temporary.mkdir(exist_ok=True)
    (temporary / "quern-cache").symlink_to(world.cache.root)
    defaults = {name: str(about["default"]) for name, about in action["inputs"].items()}
    assert {*inputs} <= {*defaults}
    context = {
        **{f"inputs.{name}": value for name, value in {**defaults, **inputs}.items()},
        "runner.temp": str(temporary),
        "runner.os": "Linux",
        "runner.arch": "X64",
        "github.action_path": str(quern),
        "github.run_id": "7",
        "github.job": "build",
    }
    environment = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_ACTION_PATH": str(quern),
        "GITHUB_WORKSPACE": str(world.project.folder),
        "GITHUB_STEP_SUMMARY": str(quern.parent / "summary.md"),
        "CI": "true",
        "DOCKER_HOST": "unix:///nonexistent.sock",
    }
    run = Run(context, environment, world.project.folder)
    ran = run.steps(action["runs"]["steps"])
    assert run.expanded(action["outputs"]["dist"]["value"]) == str(world.project.folder / "dist")
    return ran


def on_azure(world: World, quern: Path, parameters: Mapping[str, str]) -> Ran:
    """Run the steps of the template."""
    template = read(TEMPLATE)
    workspace = quern.parent / "workspace"
    workspace.mkdir()
    (workspace / "quern-cache").symlink_to(world.cache.root)
    given = {"quern": str(quern), "sources": str(world.project.folder), **parameters}
    values = {one["name"]: one.get("default") for one in template["parameters"]}
    assert given.keys() <= values.keys()
    values |= given
    macros = {
        "Pipeline.Workspace": str(workspace),
        "Build.ArtifactStagingDirectory": str(workspace / "staging"),
        "Build.BuildId": "7",
        "Agent.OS": "Linux",
        "Agent.OSArchitecture": "X64",
    }
    environment = {"TF_BUILD": "True", "CI": "true", "DOCKER_HOST": "unix:///nonexistent.sock"}
    context = {f"parameters.{name}": value for name, value in values.items()}
    return Run(context, environment, world.project.folder, macros).steps(template["steps"])


def test_the_action_builds_and_keeps_what_it_made(world: World, quern: Path) -> None:
    config = world.project.config.name
    ran = on_github(world, quern, {"config": config, "targets": "cpu"})
    assert ran.code == 0, ran.stdout + ran.stderr
    dist = world.project.folder / "dist"
    assert (dist / "small/cpu/model/model.bin").read_text() == "weights"
    assert "<testsuites" in (dist / "checks.xml").read_text()
    assert "small" in (quern.parent / "summary.md").read_text()
    assert "0 results" in ran.stdout, "clean has run"
    kept = ran.given["actions/cache"]
    assert kept["path"].split() == [f"{quern.parent}/temp/quern-cache", f"{quern}/.nox"]
    assert kept["key"].startswith(kept["restore-keys"])
    assert re.fullmatch(r"quern-Linux-X64-[0-9a-f]{16}-", kept["restore-keys"])
    assert ran.given["actions/upload-artifact"] == {"name": "quern", "path": str(dist)}


def test_the_template_of_azure_pipelines_does_so_too(world: World, quern: Path) -> None:
    ran = on_azure(world, quern, {"config": world.project.config.name, "targets": "cpu"})
    assert ran.code == 0, ran.stdout + ran.stderr
    staging = quern.parent / "workspace" / "staging" / "quern"
    assert (staging / "small/cpu/model/model.bin").read_text() == "weights"
    results = ran.given["PublishTestResults"]["testResultsFiles"]
    assert "<testsuites" in Path(results).read_text()
    assert ran.given["publish"] == {"publish": str(staging)}
    kept = ran.given["Cache"]
    assert kept["path"] == f"{quern.parent}/workspace/quern-cache"
    assert kept["key"].startswith(kept["restoreKeys"])


@pytest.mark.parametrize("service", [on_github, on_azure])
def test_what_a_caller_brings_becomes_no_command(service: Any, world: World, quern: Path) -> None:
    ran = service(world, quern, {"config": HOSTILE, "registry": HOSTILE})
    assert ran.code == 2, ran.stdout + ran.stderr
    assert not list(world.project.folder.rglob("taken"))
    assert not list(quern.parent.glob("**/taken"))
    said = (ran.stdout + ran.stderr).splitlines()
    obeyed = github_obeys if service is on_github else azure_obeys
    assert {name for line in said for name in obeyed(line)} <= {
        *("group", "endgroup", "error", "task.logissue"),
    }
    assert "actions/upload-artifact" in ran.given or "publish" in ran.given, "reports are kept"


def github_obeys(line: str) -> list[str]:
    """As `ActionCommand.cs` of https://github.com/actions/runner reads a line."""
    if line.lstrip().startswith("::"):
        return re.findall(r"::(.+?)(?: .*?)?::", line)[:1]
    return re.findall(r"##\[([^ \]]+)[^\]]*\]", line)[:1]


def azure_obeys(line: str) -> list[str]:
    """As `Command.cs` of https://github.com/microsoft/azure-pipelines-agent reads a line."""
    return re.findall(r"##vso\[([^ \]]+)[^\]]*\]", line)[:1]


@pytest.mark.parametrize("file", [ACTION, *EXAMPLES.rglob("*.yml")], ids=lambda file: file.name)
def test_no_script_is_made_of_expressions(file: Path) -> None:
    for step in steps_of(read(file)):
        script = str(step.get("run") or step.get("bash") or "")
        assert "${{" not in script
        assert "azure" not in file.parts or "$(" not in script, "a variable would be put there"


def steps_of(node: Any) -> list[dict[str, Any]]:
    if isinstance(node, dict):
        found = [step for value in node.values() for step in steps_of(value)]
        return [node, *found] if {"uses", "run", "bash", "task"} & node.keys() else found
    return [step for one in node for step in steps_of(one)] if isinstance(node, list) else []


def test_the_workflow_gives_the_action_what_it_takes() -> None:
    (job,) = read(WORKFLOW)["jobs"].values()
    used = {step["uses"].partition("@")[0]: step for step in job["steps"]}
    assert {*used["OWNER/quern"]["with"]} <= {*read(ACTION)["inputs"]}
    pipeline = read(EXAMPLES / "azure" / "azure-pipelines.yml")
    (call,) = (step for step in pipeline["steps"] if "template" in step)
    assert {*call["parameters"]} <= {one["name"] for one in read(TEMPLATE)["parameters"]}
    assert call["template"] == TEMPLATE.name


@pytest.mark.parametrize(
    "file",
    [ACTION, *EXAMPLES.rglob("github/*.yml"), PROJECT / "targets/init/workflow.yml.j2"],
    ids=lambda file: file.name,
)
def test_actions_are_pinned(file: Path) -> None:
    for line in file.read_text("utf-8").splitlines():
        used = re.search(r"uses: (\S+)@(\S+)(.*)", line)
        if used and not used[1].startswith("OWNER/"):
            assert re.fullmatch("[0-9a-f]{40}", used[2]), line
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", used[3]), line


@pytest.mark.slow
def test_those_who_check_workflows_find_nothing_wrong(tmp_path: Path) -> None:
    workflow = tmp_path / "workflow.yml"
    workflow.write_text(WORKFLOW.read_text("utf-8").replace("COMMIT", "0" * 40), "utf-8")
    schema, security = CHECKERS
    azure = ("vendor.azure-pipelines", *map(str, sorted((EXAMPLES / "azure").glob("*.yml"))))
    github = ("vendor.github-workflows", *map(str, sorted((EXAMPLES / "github").glob("*.yml"))))
    for requirement, command in (
        *(
            (schema, ("check-jsonschema", "--regex-variant=nonunicode", "--builtin-schema", *files))
            for files in (azure, github, ("vendor.github-actions", str(ACTION)))
        ),
        (security, ("zizmor", "--offline", "--persona=regular", str(ACTION), str(workflow))),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "uv", "tool", "run", "--from", requirement, *command],
            capture_output=True,
            text=True,
            env={**os.environ, "NO_COLOR": "1"},
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
