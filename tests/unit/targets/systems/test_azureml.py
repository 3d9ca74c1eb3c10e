"""Systems of Azure Machine Learning without its SDK: what a config may hold, and what is said."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from targets.config.load import load_config
from targets.errors import ConfigError, EnvironmentUnable
from targets.systems.azureml.resources import AzureResources
from targets.target import load_target
from tests.support.gated_builds import gated_project
from tests.support.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return gated_project(tmp_path)


def problems(project: Project, table: str) -> list[str]:
    project.config.write_text(f"{project.config.read_text()}\n[systems.aml]\n{table}")
    with pytest.raises(ConfigError) as refused:
        load_config(project.config, [load_target("cpu")])
    return [str(problem) for problem in refused.value.problems]


def test_all_that_is_wrong_is_said_at_once_with_its_line(project: Project) -> None:
    found = "\n".join(problems(project, 'type = "azureml"\nmax_hour = 3\ninstances = 2\n'))
    for key in ("subscription", "resource_group", "workspace", "compute", "max_hours"):
        assert f"systems.aml.{key}: this key is required" in found
    assert "max_hour: unknown key (did you mean 'max_hours'?)" in found
    assert "instances: unknown key" in found
    lines = project.config.read_text().splitlines()
    assert f"{project.config}:{lines.index('max_hour = 3') + 1}: systems.aml.max_hour" in found


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('type = "azure"\n', 'systems.aml.type: must be "docker" or "azureml"'),
        ('engine = "ssh://me@box:22"\n', "systems.aml.type: this key is required"),
    ],
)
def test_the_type_of_a_system_decides_its_keys(project: Project, table: str, said: str) -> None:
    assert said in "\n".join(problems(project, table))


def test_what_lies_there_needs_a_workspace(project: Project) -> None:
    project.edit('source = "model"', 'source = "azureml://datastores/ours/paths/model"')
    with pytest.raises(ConfigError, match="nothing says in which workspace"):
        load_config(project.config, [load_target("cpu")])


@pytest.mark.skipif(find_spec("azure") is not None, reason="the SDK is installed")
@pytest.mark.parametrize(
    "address",
    [
        "azureml://registries/ours/models/phi/versions/11",
        "azureml://subscriptions/s/resourcegroups/g/workspaces/w/models/phi/versions/11",
        "azureml://subscriptions/s/resourcegroups/g/workspaces/w/datastores/d/paths/rows.jsonl",
    ],
)
def test_a_missing_sdk_is_said_with_the_command_that_installs_it(
    tmp_path: Path, address: str
) -> None:
    with pytest.raises(EnvironmentUnable) as unable:
        AzureResources(tmp_path, [], print).bring(address)
    assert "nox -s azure" in (unable.value.hint or "")
    assert "--model" in (unable.value.hint or "")
