"""A project that is built in seconds, and what its build said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.project import Project, make_project

# Enough to run every pass for real; far too little to be good, so quality has no limits here.
QUICK = """
[checks.quality]
min_valid = 0
max_accuracy_loss = 1
max_tuning_loss = 1
min_length_ratio = 0
max_length_ratio = 100

[checks.generation]
min_ended = 0
max_degenerate = 1
max_broken = 1

[checks.latency]
lengths = []
rounds = 3
# Three processes prove no limit, and more take time.
target_limits = false

# Where the device is not here nothing is timed, and the limits are what is left to prove.
[targets.directml.checks.latency]
target_limits = true

[targets.webgpu.checks.latency]
target_limits = true
"""


def quick_project(folder: Path, seed: int = 0) -> Project:
    project = make_project(folder)
    project.edit('name = "small"', f'name = "small"\nseed = {seed}')
    project.edit('text = "story.txt"', 'text = "story.txt"\nsteps = 5\nbatch_size = 8\nlayers = 2')
    project.edit("r = 8", "r = 8\nmax_steps = 8")
    project.config.write_text(project.config.read_text() + QUICK)
    return project


def report_of(dist: Path, build: str = "small") -> dict[str, Any]:
    report = json.loads((dist / build / "cpu" / "report.json").read_text())
    assert isinstance(report, dict)
    return report


def cached(report: dict[str, Any]) -> dict[str, bool]:
    return {step["name"]: step["cached"] for step in report["passes"]}
