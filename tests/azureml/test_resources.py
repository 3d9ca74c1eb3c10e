"""Data and models of Azure Machine Learning, read on this machine through the unchanged SDK."""

from __future__ import annotations

from pathlib import Path

import obstore
import pytest

from targets.config.model_folder import checkpoint_folder
from targets.errors import EnvironmentUnable
from targets.systems.azureml.resources import AzureResources
from tests.support.azure.control_plane import GROUP, SUBSCRIPTION, WORKSPACE
from tests.support.azure.world import AzureWorld

pytestmark = pytest.mark.servers

PLACE = f"azureml://subscriptions/{SUBSCRIPTION}/resourcegroups/{GROUP}/workspaces/{WORKSPACE}"
ROWS = b'{"phrase": "thank you", "tone": "joy"}\n'


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def resources(tmp_path: Path, said: list[str]) -> AzureResources:
    return AzureResources(tmp_path / "azureml", (), said.append)


def test_a_blob_is_fetched_once_for_each_version_of_it(
    world: AzureWorld, resources: AzureResources, said: list[str]
) -> None:
    container = world.container("team")
    address = f"{PLACE}/datastores/workspaceblobstore/paths/tone/train.json"
    obstore.put(container, "tone/train.json", ROWS)
    first = resources.bring(address)
    assert first is not None
    assert first.name == "train.json"  # the name says how it is read
    assert first.read_bytes() == ROWS
    assert resources.bring(address) == first
    assert len(said) == 1
    obstore.put(container, "tone/train.json", ROWS + ROWS)
    second = resources.bring(address)
    assert second is not None
    assert second.read_bytes() == ROWS + ROWS
    assert first.read_bytes() == ROWS  # a build that reads it goes on
    assert len(said) == 2


@pytest.mark.parametrize(
    ("folder", "address"),
    [
        ("models/phi/3", f"{PLACE}/models/phi/versions/3"),
        ("shared/phi/3", "azureml://registries/azureml/models/phi/versions/3"),
    ],
)
def test_a_model_in_mlflows_layout_becomes_a_checkpoint(
    world: AzureWorld, resources: AzureResources, folder: str, address: str
) -> None:
    container = world.container("team")
    for name, content in {
        "mlflow_model_folder/MLmodel": b"flavors: {}\n",
        "mlflow_model_folder/data/model/config.json": b"{}",
        "mlflow_model_folder/data/model/model.safetensors": b"w" * (6 << 20),
    }.items():
        obstore.put(container, f"{folder}/{name}", content)
    brought = resources.bring(address)
    assert brought is not None
    checkpoint = checkpoint_folder(brought)
    assert (checkpoint / "config.json").is_file()
    assert (checkpoint / "model.safetensors").read_bytes() == b"w" * (6 << 20)


def test_what_is_not_there_is_said_with_where(world: AzureWorld, resources: AzureResources) -> None:
    with pytest.raises(EnvironmentUnable, match="has nothing at 'no/such'"):
        resources.bring(f"{PLACE}/datastores/workspaceblobstore/paths/no/such")
    with pytest.raises(EnvironmentUnable, match="404"):
        resources.bring(f"{PLACE}/datastores/none/paths/no/such")
    world.plane.refuse("GET", "/datastores/", 403, "AuthorizationFailed", "PLANTED")
    with pytest.raises(EnvironmentUnable, match="PLANTED"):
        resources.bring(f"{PLACE}/datastores/workspaceblobstore/paths/tone/train.json")


def test_without_a_workspace_nothing_is_asked(resources: AzureResources) -> None:
    assert resources.bring("azureml://datastores/workspaceblobstore/paths/x") is None
    assert resources.bring("azureml://jobs/x/outputs/y") is None
