"""Microsoft's tutorial as its files have it: the host, the target, the data and the model lie in
Azure Machine Learning, whose jobs run in containers of the toolchain's image."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest

from targets.target import load_target
from targets.toolchain.engine import connect
from targets.toolchain.image import ensure_image
from targets.toolchain.platforms import this_machine
from tests.integration.conftest import quern
from tests.integration.test_olive import base, folder
from tests.support.azure.job_runner import in_container
from tests.support.azure.world import AzureWorld, azure_world
from tests.support.command import Quern

__all__ = ["base", "folder", "quern"]

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.engine]

MODEL = "shared/Phi-3-mini-4k-instruct/11/mlflow_model_folder"


@pytest.fixture(scope="module")
def cloud(cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureWorld]:
    """The workspace; the image is that of this machine, whose recipe has the same lock."""
    toolchain = load_target("cpu").toolchain(this_machine())
    image = ensure_image(connect(), toolchain, cache_dir, print)
    start = in_container(image.id)
    place = tmp_path_factory.mktemp("cloud")
    with azure_world(cache_dir / "object_stores", place, start) as world:
        yield world


def test_the_cloud_file_runs_to_a_passed_artifact(
    cloud: AzureWorld, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    container = cloud.container("team")
    for file in (folder / "model").rglob("*"):
        if file.is_file():
            name = file.relative_to(folder / "model").as_posix()
            obstore.put(container, f"{MODEL}/data/model/{name}", file.read_bytes())
    obstore.put(container, f"{MODEL}/MLmodel", b"flavors:\n  transformers: {}\n")
    obstore.put(container, "tone/train.json", (folder / "tone.jsonl").read_bytes())
    fresh = Quern(tmp_path_factory.mktemp("fresh"))
    file, dist = folder / "azure.json", folder / "dist"
    ran = fresh(
        *("build", "--config", str(file), "--dist", str(dist)), environment=cloud.environment
    )
    assert ran.code == 0, ran.stdout + ran.stderr
    assert cloud.plane.left() == []
    report = json.loads((dist / "azure" / "cpu" / "report.json").read_text())
    assert report["status"] == "passed"
    assert (dist / "azure" / "cpu" / "model" / "genai_config.json").is_file()
    made = next(item for item in report["passes"] if item["name"] == "qlora")
    assert made["metrics"]["steps"] == 10
    names = {job.properties["computeId"].rpartition("/")[2] for job in cloud.plane.jobs.values()}
    assert names == {"gpu-cluster"}
    sent = "".join(cloud.plane.bodies)
    for secret in ("client-secret-PLANTED", "hf_"):
        assert secret not in sent.replace("hf_config", "")
    # On this machine the same steps have the same keys: nothing is left to run.
    again = fresh(
        *("plan", "--config", str(file), "--system", "local", "--json"),
        environment=cloud.environment,
    )
    assert again.code == 0, again.stderr
    (plan,) = json.loads(again.stdout)["plans"]
    assert [step["name"] for step in plan["steps"] if not step["cached"]] == []
