"""Builds whose steps run as jobs of a real Slurm with two nodes."""

from __future__ import annotations

import json
import time

import pytest

from tests.support.command import Quern
from tests.support.gated_builds import with_resuming_step
from tests.support.project import Project
from tests.support.slurm import Cluster
from tests.support.system_life import Life, LifeInBrief, cached_here, started


class TestLifeInBrief(LifeInBrief):
    pass


@pytest.mark.slow
class TestLife(Life):
    pass


def test_a_build_and_what_it_leaves(fresh: Quern, place: Cluster, project: Project) -> None:
    build = started(fresh, place, project)
    try:
        assert build.complete() == 0, build.said
    finally:
        build.kill()
    output = project.folder / "dist/small/cpu/model"
    assert (output / "whole").read_text() == "half of it"
    report = json.loads((output.parent / "report.json").read_text())
    assert {(step["system"], step["runtime"]) for step in report["passes"]} == {("hpc", "venv")}
    assert "no network" in report["passes"][0]["unconfined"]
    assert "not enforced there: that there is no network" in build.said
    # On this machine the same steps have the same keys: nothing is left to run.
    assert cached_here(fresh, project) == ["first", "second", "size", "third"]


@pytest.mark.slow
def test_a_step_goes_on_with_what_it_had_when_its_job_was_ended(
    fresh: Quern, place: Cluster, project: Project
) -> None:
    with_resuming_step(project)
    build = started(fresh, place, project)
    try:
        build.reach("second ...")
        while not [*place.shared.glob("jobs/*/unfinished-*/runs")]:
            assert build.process.poll() is None, build.said
            time.sleep(0.05)
        place.end_jobs()  # as after `max_hours`
        assert build.finish(120) == 4, build.said
    finally:
        build.kill()
    (left,) = place.shared.glob("unfinished/*/unfinished-*/runs")
    assert left.read_text() == "run "
    again = started(fresh, place, project)
    try:
        assert again.complete() == 0, again.said
    finally:
        again.kill()
    assert (project.folder / "dist/small/cpu/model/runs").read_text() == "run run "
    assert [*place.shared.glob("unfinished/*/*")] == []
