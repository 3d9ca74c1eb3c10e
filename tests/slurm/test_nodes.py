"""A training that several nodes share: real daemons, real processes, and a network between them."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.command import Quern
from tests.support.gated_builds import Running
from tests.support.project import Project, make_project
from tests.support.slurm import NODES, Cluster

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
