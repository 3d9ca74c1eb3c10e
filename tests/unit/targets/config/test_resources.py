"""Limits that no step could keep are refused where they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from targets.config.load import load_config
from targets.errors import ConfigError
from targets.target import load_target
from tests.support.project import make_project


@pytest.mark.parametrize("memory", ["0", "1", "63m", "0.01g"])
def test_memory_in_which_no_step_runs(tmp_path: Path, memory: str) -> None:
    project = make_project(tmp_path)
    text = f'{project.config.read_text()}\n[resources]\nmemory = "{memory}"\n'
    project.config.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(project.config, [load_target("cpu")])
    (problem,) = caught.value.problems
    assert problem.key == "resources.memory"
    assert problem.line == text[: text.index("memory = ")].count("\n") + 1
    assert "give at least '64m'" in problem.message


@pytest.mark.parametrize(
    "line",
    [
        *(f'memory = "{text}"' for text in ("-5g", "", "9e999g", "0x10g", "g")),
        *(f"memory = {value}" for value in ("6", "true")),
        *(f"step_hours = {value}" for value in ("0", "-1", "nan", "inf", "8761")),
        *(f"cpus = {value}" for value in ("0", "-1", "nan", "inf", "1e-12", "0.001")),
        *(f"threads = {value}" for value in ("0", "-1", "1.5")),
    ],
)
def test_limits_that_are_none(tmp_path: Path, line: str) -> None:
    project = make_project(tmp_path)
    project.config.write_text(f"{project.config.read_text()}\n[resources]\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(project.config, [load_target("cpu")])
    (problem,) = caught.value.problems
    assert problem.key == f"resources.{line.partition(' ')[0]}"
