"""Which targets a bench is of, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from targets.cli.commands.bench import _requests, _require_no_regression
from targets.cli.options import Wanted
from targets.errors import CheckFailed
from tests.unit.bench_data import bench
from tests.unit.project import Project, make_project
from tests.unit.test_bench_page import compared


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project")


def chosen(project: Project, dist: Path, *named: str) -> tuple[str, ...]:
    wanted = Wanted(project.config, (), runtime="venv")
    (request,) = _requests(wanted, named, dist)
    return request.loaded.targets


def built(dist: Path, target: str) -> None:
    folder = dist / "small" / target
    folder.mkdir(parents=True)
    (folder / "report.json").write_text("{}")


def test_named_targets_come_before_built_ones_and_those_before_cpu(
    project: Project, tmp_path: Path
) -> None:
    assert chosen(project, tmp_path) == ("cpu",)
    built(tmp_path, "cpu")
    built(tmp_path, "directml")
    assert chosen(project, tmp_path) == ("cpu", "directml")
    assert chosen(project, tmp_path, "directml") == ("directml",)


def test_a_regression_ends_with_three_where_that_is_asked_for() -> None:
    with pytest.raises(CheckFailed, match="cpu: each token, 2112 tokens is slower") as caught:
        _require_no_regression([compared()])
    assert caught.value.exit_code == 3
    _require_no_regression([bench()])
