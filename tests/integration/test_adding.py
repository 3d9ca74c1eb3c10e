"""A target, a pass, a check and a command are added as files: nothing else of the project changes.

Each is added to a copy, in which the project's own commands are then run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from targets.cli.options import PROJECT
from targets.config.olive.jsonc import parse

# What mypy knows of unchanged files is copied: the types of all of them take a minute.
IGNORED = (".nox", ".git", "dist", "__pycache__", ".pytest_cache", ".ruff_cache", ".parts")

TARGET = """\
description = "ONNX Runtime on what OpenVINO reaches"
execution_provider = "openvino"
device = "openvino"
image = "openvino"
python = "3.11"

[room]
wheels = 0.5
installed = 1.7

[precision]
default = "int4"
allowed = ["int4", "fp16"]
float_export = "fp16"

[limits]
first_token_ms = { at_least = 500, per_gb = 75, per_gb_and_prompt_token = 5 }
token_ms = { at_least = 50, per_gb = 75 }

[platforms."linux/amd64"]
"""

DEVICE = '''\
"""What OpenVINO reaches."""

from __future__ import annotations

from targets.devices.device import Device
from targets.toolchain.toolchain import Toolchain


def find(_toolchain: Toolchain) -> Device:
    """Return that there is none."""
    return Device("openvino", "no adapter answers")
'''

HALVED = '''\
"""Halves every weight."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass


class HalvedParams(Frozen):
    """By how much."""

    divisor: float = 2.0
    """What each weight is divided by."""


class Pass(BasePass[HalvedParams]):
    """Divide every weight."""

    Params = HalvedParams
    consumes: ClassVar[Mapping[str, Kind]] = {"model": "checkpoint"}
    produces: ClassVar[Kind] = "checkpoint"

    def run(self, inputs: Inputs, params: HalvedParams, out_dir: Path) -> dict[str, JsonValue]:
        """Do nothing: this is only planned."""
        raise NotImplementedError
'''

CHECK = '''\
"""Is the artifact polite?"""

from __future__ import annotations

from pipeline.checks.base import BaseCheck, Outcome
from pipeline.contract.frozen import Frozen
from pipeline.contract.step import Inputs


class PolitenessParams(Frozen):
    """The limit."""

    min_politeness: float = 0.5
    """Least share of polite answers."""


class Check(BaseCheck[PolitenessParams]):
    """Count polite answers."""

    Params = PolitenessParams

    def run(self, inputs: Inputs, params: PolitenessParams) -> Outcome:
        """Do nothing: this is only planned."""
        raise NotImplementedError
'''

COMMAND = '''\
"""``say-hello``: greet the user."""

from __future__ import annotations

import click


@click.command("say-hello")
def command() -> None:
    """Greet the user."""
    click.echo("hello")
'''


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project with one more of each, and a build that uses them."""
    copy = tmp_path_factory.mktemp("extended") / "quern"
    shutil.copytree(PROJECT, copy, ignore=shutil.ignore_patterns(*IGNORED))
    shutil.copytree(copy / "images" / "cpu", copy / "images" / "openvino")
    for place, text in {
        "targets/openvino.toml": TARGET,
        "targets/devices/openvino.py": DEVICE,
        "pipeline/passes/halved.py": HALVED,
        "pipeline/checks/politeness.py": CHECK,
        "targets/cli/commands/say_hello.py": COMMAND,
    }.items():
        (copy / place).write_text(text)
    config = (copy / "configs" / "tone.toml").read_text()
    config = config.replace("[passes.merge]\n", "[passes.merge]\n\n[passes.halved]\n")
    (copy / "configs" / "more.toml").write_text(f"{config}\n[checks.politeness]\n")
    return copy


def run(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the copy, whose modules come before the project's own."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=copy,
        env={
            **os.environ,
            "QUERN_CACHE": str(copy.parent / "cache"),
            "DOCKER_HOST": "unix:///nonexistent.sock",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_was_added_is_planned_for_what_was_added(extended: Path) -> None:
    asked = ("--config", "configs/more.toml", "--target", "openvino")
    ran = run(extended, "-m", "targets", "plan", *asked, "--json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (plan,) = json.loads(ran.stdout)["plans"]
    steps = {step["name"]: step for step in plan["steps"]}
    assert steps["halved"]["params"] == {"divisor": 2.0}
    assert steps["politeness"]["target"] == "openvino"
    assert steps["model_builder"]["params"]["execution_provider"] == "openvino"


def test_its_device_is_looked_for(extended: Path) -> None:
    ran = run(extended, "-m", "targets", "doctor", "--target", "openvino", "--json")
    found = {finding["message"] for finding in json.loads(ran.stdout)["findings"]}
    assert "openvino: no adapter answers" in found, ran.stdout


def test_an_olive_file_that_names_its_provider_is_for_it(extended: Path) -> None:
    raw = parse((extended / "configs" / "olive" / "olive-config.json").read_text())
    raw["engine"]["execution_providers"] = ["OpenVINOExecutionProvider"]
    (extended / "configs" / "olive" / "openvino.json").write_text(json.dumps(raw))
    ran = run(
        extended, "-m", "targets", "plan", "--config", "configs/olive/openvino.json", "--json"
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert [plan["target"] for plan in json.loads(ran.stdout)["plans"]] == ["openvino"]


def test_schema_and_reference_page_have_them(extended: Path) -> None:
    assert run(extended, "-m", "targets", "schema").returncode == 0
    page = (extended / "docs" / "config.md").read_text()
    assert "```toml\n[passes.halved]\ndivisor = 2.0\n```" in page
    assert "| `min_politeness` | number | `0.5` | Least share of polite answers. |" in page
    schema = json.loads((extended / "configs" / "schema.json").read_text())
    assert "openvino" in schema["properties"]["targets"]["properties"]


def test_the_command_is_one_and_a_session(extended: Path) -> None:
    assert run(extended, "-m", "targets", "say-hello").stdout == "hello\n"
    listed = run(extended, "nox", "--list").stdout
    assert "- say-hello -> Greet the user." in listed
    assert "- build-openvino -> " in listed


@pytest.mark.parametrize("tool", [("ruff", "check"), ("ruff", "format", "--check"), ("mypy",)])
def test_the_project_with_them_is_linted_and_typed(extended: Path, tool: tuple[str, ...]) -> None:
    ran = run(extended, "-m", *tool)
    assert ran.returncode == 0, ran.stdout


def test_a_mistake_in_a_target_is_said_with_its_file(extended: Path) -> None:
    broken = extended / "targets" / "broken.toml"
    broken.write_text(TARGET.replace('device = "openvino"', 'device = "openvinoo"'))
    ran = run(extended, "-m", "targets", "plan", "--target", "broken")
    broken.unlink()
    assert ran.returncode == 2, ran.stderr
    assert "broken.toml: device: " in ran.stderr
    assert "did you mean 'openvino'?" in ran.stderr
