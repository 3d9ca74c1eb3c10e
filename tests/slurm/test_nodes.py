"""A training that several nodes share: real daemons, real processes, and a network between them."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.support.command import Quern
from tests.support.several_machines import (
    RANKS,
    machine_processes,
    trained,
    training,
    two_that_train,
    weights,
)
from tests.support.slurm import Cluster

pytestmark = pytest.mark.slow


def test_two_nodes_train_the_bytes_of_two_passes_a_step(
    fresh: Quern, place: Cluster, tmp_path: Path
) -> None:
    alone = training(tmp_path / "alone", "hpc", place.table(), 6)
    one = trained(fresh, alone, place.environment)
    table = place.table(nodes=2)
    together = training(tmp_path / "together", "hpc", table, 6, "gpus = 2")
    two = trained(fresh, together, place.environment)
    assert (one["metrics"].get("processes"), two["metrics"]["processes"]) == (None, 2)
    assert not two["cached"]
    assert weights(together) == weights(alone)


@pytest.mark.parametrize(
    ("victim", "said"),
    [
        ("pipeline", "its process ended by SIGKILL (Killed)"),
        (RANKS, "a process of the training ended"),
    ],
)
def test_a_node_that_fails_ends_the_job_and_is_named(
    fresh: Quern, place: Cluster, tmp_path: Path, victim: str, said: str
) -> None:
    table = place.table(nodes=2)
    project = training(tmp_path / "project", "hpc", table, 100_000, "gpus = 2")
    with two_that_train(fresh, project, place.environment) as build:
        (process,) = [one for number, one in machine_processes(victim) if number == 1]
        process.send_signal(signal.SIGKILL)
        begun = time.monotonic()
        output, _ = build.communicate(timeout=120)
    assert build.returncode == 4, output
    assert "n2, one of the nodes n[1-2] of the training, failed:" in output
    assert said in output
    assert time.monotonic() - begun < 60
    assert [*machine_processes("pipeline")] == []


def test_a_node_that_dies_is_named(fresh: Quern, place: Cluster, tmp_path: Path) -> None:
    table = place.table(nodes=2)
    project = training(tmp_path / "project", "hpc", table, 100_000, "gpus = 2")
    with two_that_train(fresh, project, place.environment) as build:
        place.kill_node("n2")
        try:
            output, _ = build.communicate(timeout=200)
        finally:
            place.start_node("n2")
            place.wait_for_nodes()
    assert build.returncode == 4, output
    assert "n2" in output.partition("says: ")[2], output


def test_what_nodes_cannot_share_is_refused(fresh: Quern, place: Cluster, tmp_path: Path) -> None:
    table = place.table(nodes=3)
    project = training(tmp_path / "project", "hpc", table, 6, "gpus = 2")
    ended = fresh("plan", "--config", str(project.config))
    assert ended.code == 2, ended.stderr
    assert "systems.hpc.nodes: 3 machines share the processes of a training" in ended.stderr
    assert "set `gpus` of the training to 3 or a multiple of it" in ended.stderr
    project.edit("gpus = 2\n", "")
    ended = fresh("plan", "--config", str(project.config))
    assert ended.code == 2, ended.stderr
    assert "(here 1)" in ended.stderr
    project.edit("nodes = 3", 'nodes = 3\ncontainer = "pyxis"')
    ended = fresh("plan", "--config", str(project.config))
    assert ended.code == 2, ended.stderr
    assert "pyxis starts its containers through srun" in ended.stderr
