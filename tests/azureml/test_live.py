"""A build on a compute of a real subscription, where its variables name one. It costs minutes of
it; everything else about Azure is tested against a stand-in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.command import Quern
from tests.support.project import Project
from tests.support.quick_builds import quick_project

KEYS = {
    "subscription": "QUERN_AZURE_SUBSCRIPTION",
    "resource_group": "QUERN_AZURE_GROUP",
    "workspace": "QUERN_AZURE_WORKSPACE",
    "compute": "QUERN_AZURE_COMPUTE",
}

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(
        not all(map(os.environ.get, KEYS.values())),
        reason=f"no subscription is named ({', '.join(KEYS.values())})",
    ),
]


def test_a_build_on_a_real_compute(tmp_path: Path) -> None:
    project: Project = quick_project(tmp_path / "project")
    table = "".join(f'{key} = "{os.environ[name]}"\n' for key, name in KEYS.items())
    project.config.write_text(
        f'host = "aml"\n{project.config.read_text()}\n[systems.aml]\ntype = "azureml"\n{table}'
        "max_hours = 2\n"
    )
    dist = tmp_path / "dist"
    ran = Quern(tmp_path / "cache")(
        *("build", "--config", str(project.config), "--dist", str(dist)), seconds=3 * 3600
    )
    assert ran.code == 0, ran.stdout + ran.stderr
    assert (dist / "small" / "cpu" / "model" / "genai_config.json").is_file()
