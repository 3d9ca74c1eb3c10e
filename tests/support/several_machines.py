"""Trainings that several machines of a system share."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from pipeline.process.machines import VARIABLE
from targets.cli.options import PROJECT
from tests.support.command import Quern
from tests.support.project import Project, make_project

_PASSES = """[passes.lora]
r = 8
dropout = 0
batch_size = 4
gradient_accumulation = 2
max_steps = {steps}
{more}

[passes.merge]
"""
RANKS = "pipeline.training.ranks"
"""Module of the processes that train."""


def training(folder: Path, host: str, table: str, steps: int, more: str = "") -> Project:
    """Return a project that trains ``steps`` steps on ``host``, of two forward passes each."""
    project = make_project(folder)
    project.edit('text = "story.txt"', 'text = "story.txt"\nsteps = 5\nbatch_size = 8\nlayers = 2')
    text = project.config.read_text().partition("[passes.lora]")[0]
    passes = _PASSES.format(steps=steps, more=more)
    # So short a training is good for nothing, and what measures that takes most of the time.
    begin = f'host = "{host}"\nskip_checks = ["quality", "merging"]\n'
    project.config.write_text(f"{begin}{text}{passes}{table}")
    return project


def trained(fresh: Quern, project: Project, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return what the report of a build says of its training, which is one that must work."""
    dist = project.folder / "dist"
    arguments = ("build", "--config", str(project.config), "--dist", str(dist))
    ended = fresh(*arguments, environment=environment)
    assert ended.code == 0, ended.stdout + ended.stderr
    report = json.loads((dist / "small/cpu/report.json").read_text())
    (step,) = [one for one in report["passes"] if one["name"] == "lora"]
    assert isinstance(step, dict)
    return step


def weights(project: Project) -> bytes:
    """Return the merged weights of a build."""
    (file,) = (project.folder / "dist/small/cpu/model").glob("*.safetensors")
    return file.read_bytes()


@contextmanager
def two_that_train(
    fresh: Quern, project: Project, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """Yield a build that has both of its machines train."""
    dist = str(project.folder / "dist")
    with subprocess.Popen(
        fresh.command("build", "--config", str(project.config), "--dist", dist),
        cwd=PROJECT,
        env=fresh.environment(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as build:
        try:
            deadline = time.monotonic() + 600
            while {number for number, _ in machine_processes(RANKS)} != {0, 1}:
                assert build.poll() is None, build.communicate()[0]
                assert time.monotonic() < deadline
                time.sleep(0.2)
            yield build
        finally:
            build.kill()


def machine_processes(module: str) -> Iterator[tuple[int, psutil.Process]]:
    """Yield the processes of ``module`` on several machines, each with the number of its own."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = process.cmdline()
            # torchrun has the words of what it starts too.
            if "torch.distributed.run" in words or f"-m {module} " not in f"{' '.join(words)} ":
                continue
            if machine := process.environ().get(VARIABLE):
                yield int(machine.partition("/")[0]), process
