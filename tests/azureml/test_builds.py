"""Builds whose steps run as jobs of Azure Machine Learning: the unchanged SDK talks to a stand-in
of the control plane and to a real service of blobs, and the jobs run."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from targets.cli.options import PROJECT
from tests.support.azure.world import AzureWorld
from tests.support.command import Quern
from tests.support.project import Project
from tests.support.system_life import Life, LifeInBrief, cached_here, started

pytestmark = pytest.mark.servers


@pytest.fixture
def fresh(tmp_path: Path) -> Quern:
    return Quern(tmp_path / "cache")


class TestLife(LifeInBrief, Life):
    @pytest.fixture
    def place(self, world: AzureWorld) -> AzureWorld:
        return world


def test_a_build_and_what_it_leaves(fresh: Quern, world: AzureWorld, project: Project) -> None:
    build = started(fresh, world, project)
    try:
        assert build.complete() == 0, build.said
    finally:
        build.kill()
    output = project.folder / "dist/small/cpu/model"
    assert (output / "whole").read_text() == "half of it"
    report = json.loads((output.parent / "report.json").read_text())
    assert {step["system"] for step in report["passes"]} == {"aml"}
    assert "no network" in report["passes"][0]["unconfined"]
    assert "aml does not enforce that there is no network" in build.said
    assert "not enforced there: that there is no network" in build.said
    assert "of the compute are billed" in build.said
    sent = "".join(world.plane.bodies)
    assert "assetVersion" not in sent  # which the service refuses
    commit = ["git", "rev-parse", "HEAD"]
    head = subprocess.run(commit, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert head.strip() not in sent  # the SDK would tell of the repository
    assert [*(fresh.cache / "jobs").glob("*.azureml")] == []
    # On this machine the same steps have the same keys: nothing is left to run.
    assert cached_here(fresh, project) == ["first", "second", "size", "third"]
