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
