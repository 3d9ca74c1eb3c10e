"""Builds whose steps run as jobs of Azure Machine Learning: the unchanged SDK talks to a stand-in
of the control plane and to a real service of blobs, and the jobs run."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from targets.cli.options import PROJECT
from targets.signatures.signing import signer_of_file
from targets.target import load_target
from targets.toolchain.engine import connect
from targets.toolchain.image import expected_image
from targets.toolchain.platforms import this_machine
from targets.toolchain.registry.image_registry import ImageRegistry
from targets.toolchain.registry.settings import RegistrySettings
from tests.support.azure.world import AzureWorld
from tests.support.capabilities import program
from tests.support.command import Quern
from tests.support.key_files import private_file, public_file
from tests.support.project import Project
from tests.support.registries import PROGRAM, made_image, registry
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
    costs = [note for note in report["notes"] if "of the compute are billed" in note]
    assert len(costs) == len({*costs}) == 4  # one for each job
    assert all(cost.startswith("aml: the job quern-") for cost in costs)
    page = (output.parent / "report.html").read_text()
    assert all(cost in page for cost in costs)
    assert "aml does not enforce that there is no network" in page.replace("Aml", "aml")
    sent = "".join(world.plane.bodies)
    assert "assetVersion" not in sent  # which the service refuses
    commit = ["git", "rev-parse", "HEAD"]
    head = subprocess.run(commit, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert head.strip() not in sent  # the SDK would tell of the repository
    assert [*(fresh.cache / "jobs").glob("*.azureml")] == []
    # On this machine the same steps have the same keys: nothing is left to run.
    assert cached_here(fresh, project) == ["first", "second", "size", "third"]


def test_a_kubernetes_cluster_of_azure_arc_runs_it_as_well(
    fresh: Quern, world: AzureWorld, project: Project
) -> None:
    project.edit('compute = "gpu-cluster"', 'compute = "arc"\ninstance_type = "large"')
    build = started(fresh, world, project)
    try:
        assert build.complete() == 0, build.said
    finally:
        build.kill()
    jobs = [job.properties for job in world.plane.jobs.values()]
    arc = [one for one in jobs if str(one["computeId"]).endswith("/computes/arc")]
    assert len(arc) == 4
    assert {one["resources"]["instanceType"] for one in arc} == {"large"}
    report = json.loads((project.folder / "dist/small/cpu/report.json").read_text())
    assert {step["system"] for step in report["passes"]} == {"aml"}
    assert "aml (Azure ML: arc of our-workspace)" in build.said


@pytest.mark.engine
def test_the_image_is_that_of_a_registry_by_its_digest_and_signed(
    fresh: Quern, world: AzureWorld, project: Project, tmp_path: Path
) -> None:
    program("registry", PROGRAM)
    toolchain = load_target("cpu").toolchain(this_machine())
    expected = expected_image(toolchain)
    with registry(tmp_path / "registry") as served:
        client = connect()
        images = ImageRegistry(RegistrySettings(served.repository))
        line = f'max_hours = 1\nimage_registry = "{served.repository}"'
        project.edit("max_hours = 1", line)
        refused = fresh("build", "--config", str(project.config), environment=world.environment)
        assert refused.code == 4, refused.stderr
        assert "has no image of the cpu toolchain for this recipe" in refused.stderr
        assert "images --push" in refused.stderr.replace("-- ", "")
        image = made_image(client, expected)
        try:
            images.push(client, image, expected, None, lambda _: None)
            pair = Ed25519PrivateKey.generate()
            public_file(project.folder, pair, "team.pub")
            signer = signer_of_file(private_file(tmp_path, pair), None)
            trust = '[toolchain]\ntrust = ["team.pub"]\n'
            project.config.write_text(f"{project.config.read_text()}\n{trust}")
            refused = fresh("build", "--config", str(project.config), environment=world.environment)
            assert refused.code == 4, refused.stderr
            assert "it is not signed by the key team.pub" in refused.stderr
            assert served.repository not in str(properties(world))
            trusting = RegistrySettings(served.repository, (project.folder / "team.pub",))
            images = ImageRegistry(trusting)
            digest, _ = images.push(client, image, expected, signer, lambda _: None)
            build = started(fresh, world, project)
            try:
                assert build.complete() == 0, build.said
            finally:
                build.kill()
        finally:
            client.images.remove(image, force=True)
    known = [str(one.get("image", "")) for one in properties(world)]
    (own,) = [one for one in known if one.startswith(served.repository)]
    assert own == f"{served.repository}@{digest}"
    report = json.loads((project.folder / "dist/small/cpu/report.json").read_text())
    assert report["toolchain"]["image"] == own


def properties(world: AzureWorld) -> list[dict[str, Any]]:
    """Return what the workspace knows of environments."""
    return [one["properties"] for one in world.plane.environments.values()]
