"""A training that several machines of a job share: containers on a network of their own, which are
told of each other as the service documents it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from targets.target import load_target
from targets.toolchain.engine import connect
from targets.toolchain.image import ensure_image
from targets.toolchain.platforms import this_machine
from tests.support.azure.job_runner import in_container, remove_networks
from tests.support.azure.published import faults
from tests.support.azure.world import AzureWorld, azure_world
from tests.support.command import Quern
from tests.support.several_machines import (
    RANKS,
    machine_processes,
    trained,
    training,
    two_that_train,
    weights,
)

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.engine]


@pytest.fixture(scope="module")
def cloud(cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureWorld]:
    toolchain = load_target("cpu").toolchain(this_machine())
    image = ensure_image(connect(), toolchain, cache_dir, print)
    place = tmp_path_factory.mktemp("cloud")
    with azure_world(cache_dir / "object_stores", place, in_container(image.id)) as world:
        yield world


@pytest.fixture(autouse=True)
def ended(cloud: AzureWorld) -> Iterator[None]:
    yield
    assert cloud.plane.left() == []  # whatever happened, no job runs
    remove_networks()


@pytest.fixture
def fresh(tmp_path: Path) -> Quern:
    return Quern(tmp_path / "cache")


def test_two_machines_train_the_bytes_of_two_passes_a_step(
    cloud: AzureWorld, fresh: Quern, tmp_path: Path
) -> None:
    alone = training(tmp_path / "alone", "aml", cloud.table, 6)
    trained(fresh, alone, cloud.environment)
    table = f"{cloud.table}instance_count = 2\n"
    together = training(tmp_path / "together", "aml", table, 6, "gpus = 2")
    two = trained(fresh, together, cloud.environment)
    assert two["metrics"]["processes"] == 2
    assert not two["cached"]
    assert weights(together) == weights(alone)
    asked = [job.properties for job in cloud.plane.jobs.values()]
    (shared,) = [one for one in asked if one["resources"]["instanceCount"] == 2]
    sys.path.append(cloud.environment["PYTHONPATH"])
    from azure.ai.ml._restclient.arm_ml_service import models

    assert [*faults(models.DistributionConfiguration, shared["distribution"])] == []
    assert shared["distribution"] == {"distributionType": "PyTorch", "processCountPerInstance": 1}
    assert not any(one.get("distribution") for one in asked if one is not shared)


def test_a_machine_that_fails_ends_the_job_and_is_named(
    cloud: AzureWorld, fresh: Quern, tmp_path: Path
) -> None:
    table = f"{cloud.table}instance_count = 2\n"
    project = training(tmp_path / "project", "aml", table, 100_000, "gpus = 2")
    with two_that_train(fresh, project, cloud.environment) as build:
        (process,) = [one for number, one in machine_processes(RANKS) if number == 1]
        process.send_signal(signal.SIGKILL)
        output, _ = build.communicate(timeout=180)
    assert build.returncode == 4, output
    assert "the machine 1 (from 0) of the training failed: a process of the training" in output
