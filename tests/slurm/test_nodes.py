"""A training that several nodes share: real daemons, real processes, and a network between them."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.process.machines import VARIABLE
from targets.cli.options import PROJECT
from tests.support.command import Quern
from tests.support.project import Project, make_project
from tests.support.slurm import Cluster

pytestmark = pytest.mark.slow

_PASSES = """[passes.lora]
r = 8
dropout = 0
batch_size = 4
gradient_accumulation = 2
max_steps = {steps}
{more}
[passes.merge]
"""


def shared(folder: Path, place: Cluster, steps: int, more: str = "", **system: object) -> Project:
    """Return a project that trains ``steps`` steps, of two forward passes each, on the cluster."""
    project = make_project(folder)
    project.edit('text = "story.txt"', 'text = "story.txt"\nsteps = 5\nbatch_size = 8\nlayers = 2')
    text = project.config.read_text().partition("[passes.lora]")[0]
    passes = _PASSES.format(steps=steps, more=more)
    project.config.write_text(f'host = "hpc"\n{text}{passes}{place.table(**system)}')
    return project


def built(fresh: Quern, project: Project) -> dict[str, Any]:
    """Return the report of a build that must work."""
    dist = project.folder / "dist"
    ended = fresh("build", "--config", str(project.config), "--dist", str(dist))
    assert ended.code == 0, ended.stdout + ended.stderr
    report: dict[str, Any] = json.loads((dist / "small/cpu/report.json").read_text())
    return report


def weights(project: Project) -> bytes:
    (file,) = (project.folder / "dist/small/cpu/model").glob("*.safetensors")
    return file.read_bytes()


def test_two_nodes_train_the_bytes_of_two_passes_a_step(
    fresh: Quern, place: Cluster, tmp_path: Path
) -> None:
    alone = shared(tmp_path / "alone", place, 6)
    by_one = built(fresh, alone)
    together = shared(tmp_path / "together", place, 6, "gpus = 2", nodes=2)
    by_two = built(fresh, together)
    (one, two) = (
        next(step for step in report["passes"] if step["name"] == "lora")
        for report in (by_one, by_two)
    )
    assert (one["metrics"].get("processes"), two["metrics"]["processes"]) == (None, 2)
    assert one["key"] != two["key"]
    assert not two["cached"]
    assert weights(together) == weights(alone)


@contextmanager
def building(fresh: Quern, project: Project) -> Iterator[subprocess.Popen[str]]:
    """Yield a build that has both of its nodes train."""
    dist = str(project.folder / "dist")
    with subprocess.Popen(
        fresh.command("build", "--config", str(project.config), "--dist", dist),
        cwd=PROJECT,
        env=fresh.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as build:
        try:
            deadline = time.monotonic() + 400
            while {one for one, _ in parts("pipeline.training.ranks")} != {"0", "1"}:
                assert build.poll() is None, build.communicate()[0]
                assert time.monotonic() < deadline
                time.sleep(0.2)
            yield build
        finally:
            build.kill()


def parts(module: str) -> Iterator[tuple[str, psutil.Process]]:
    """Yield the processes of ``module`` that belong to a node of several, each with its number."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if f" -m {module} " in " ".join(process.cmdline()) + " ":
                machine = process.environ().get(VARIABLE, "")
                if machine:
                    yield machine.partition("/")[0], process


@pytest.mark.parametrize(
    ("victim", "said"),
    [
        ("pipeline", "its process ended by SIGKILL (Killed)"),
        ("pipeline.training.ranks", "a process of the training ended"),
    ],
)
def test_a_node_that_fails_ends_the_job_and_is_named(
    fresh: Quern, place: Cluster, tmp_path: Path, victim: str, said: str
) -> None:
    project = shared(tmp_path / "project", place, 100_000, "gpus = 2", nodes=2)
    with building(fresh, project) as build:
        ((_, process),) = [one for one in parts(victim) if one[0] == "1" and not _starts(one[1])]
        process.send_signal(signal.SIGKILL)
        begun = time.monotonic()
        output, _ = build.communicate(timeout=120)
    assert build.returncode == 4, output
    assert f"n2, one of the nodes n[1-2] of the training, failed: {said}" in output
    assert time.monotonic() - begun < 60
    assert [*parts("pipeline")] == []


def _starts(process: psutil.Process) -> bool:
    """Return whether this is torchrun, which has the words of what it starts too."""
    return "torch.distributed.run" in process.cmdline()


def test_a_node_that_dies_is_named(fresh: Quern, place: Cluster, tmp_path: Path) -> None:
    project = shared(tmp_path / "project", place, 100_000, "gpus = 2", nodes=2)
    with building(fresh, project) as build:
        place.kill_node("n2")
        try:
            output, _ = build.communicate(timeout=200)
        finally:
            place.start_node("n2")
            place.wait_for_nodes()
    assert build.returncode == 4, output
    assert "n2" in output.partition("says: ")[2], output


def test_what_nodes_cannot_share_is_refused(fresh: Quern, place: Cluster, tmp_path: Path) -> None:
    project = shared(tmp_path / "project", place, 6, "gpus = 2", nodes=3)
    ended = fresh("plan", "--config", str(project.config))
    assert ended.code == 2, ended.stderr
    assert "systems.hpc.nodes: 3 machines share the processes of a training" in ended.stderr
    assert "set `gpus` of the training to 3 or a multiple of it" in ended.stderr
    project.edit("gpus = 2\n", "")
    ended = fresh("plan", "--config", str(project.config))
    assert ended.code == 2, ended.stderr
    assert "(here 1)" in ended.stderr
