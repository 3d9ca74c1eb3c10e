"""The CUDA toolchain: its image from the lock, offline, and artifacts built in it without a GPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import docker
import pytest

from targets.target import load_target
from targets.toolchain.image import PYTHON, ensure_image
from tests.support.command import Quern

pytestmark = [pytest.mark.heavy, pytest.mark.engine, pytest.mark.timeout(3000)]

LOAD = """
import ctypes, pathlib, onnxruntime, onnxruntime_genai, torch
assert torch.version.cuda.startswith("13."), torch.version.cuda
onnxruntime.preload_dlls()
ctypes.CDLL(str(pathlib.Path(onnxruntime_genai.__file__).parent / "libonnxruntime-genai-cuda.so"))
folder = pathlib.Path(onnxruntime.__file__).parent / "capi"
ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), ctypes.RTLD_GLOBAL)
try:
    ctypes.CDLL(str(folder / "libonnxruntime_providers_cuda.so"))
except OSError as error:
    print(error)
else:
    print("loaded")
"""


@pytest.fixture(scope="module")
def image(docker_client: docker.DockerClient, cache_dir: Path) -> str:
    toolchain = load_target("cuda").toolchain("linux/amd64")
    return ensure_image(docker_client, toolchain, cache_dir, print).id


def test_only_the_driver_is_missing_in_the_image(
    image: str, docker_client: docker.DockerClient
) -> None:
    said = docker_client.containers.run(
        image, [PYTHON, "-c", LOAD], network_mode="none", remove=True, stderr=False
    )
    # libcuda.so.1 is the driver's own and comes with the device; all else is in the wheels.
    assert "libcuda.so.1" in said.decode() or said.decode().strip() == "loaded"


@pytest.mark.parametrize("config", ["tone", "tone-qlora"])
def test_three_targets_come_from_one_fine_tune(
    config: str, quern: Quern, tmp_path: Path, image: str
) -> None:
    assert image
    targets = ("cpu", "cuda", "directml")
    named = [f"--target={target}" for target in targets]
    options = ["--config", f"configs/{config}.toml", "--dist", str(tmp_path), "--host", "cpu"]
    ran = quern("build", *named, *options, "--runtime", "docker", seconds=2000)
    assert ran.code == 0, ran.stdout + ran.stderr
    reports: dict[str, Any] = {
        target: json.loads((tmp_path / config / target / "report.json").read_text())
        for target in targets
    }
    merged = {
        step["key"]
        for report in reports.values()
        for step in report["passes"]
        if step["name"] == "merge"
    }
    assert len(merged) == 1, "each target trained for itself"
    for target, report in reports.items():
        quality = report["quality"]
        assert quality["tuned"] - quality["artifact"] <= 0.02, target
        statuses = {check["name"]: check["status"] for check in report["checks"]}
        assert statuses["valid_answers"] == statuses["logits_error"] == "passed", target
        assert statuses["nodes_without_kernel"] == "passed", target
        assert "failed" not in statuses.values(), target
