"""Which devices are found here, with NVIDIA's tool as it answers on machines that have a GPU."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from targets.cli.main import main
from targets.devices.find import find_device
from targets.errors import EnvironmentUnable
from targets.place import building_place, default_training_target, place_of, require_devices
from targets.target import load_target, target_names
from targets.toolchain.platforms import this_machine
from tests.support.project import make_project

PLATFORM = "linux/amd64"

ANSWER = """<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
  <driver_version>{driver}</driver_version>
  <cuda_version>{cuda}</cuda_version>
  <attached_gpus>2</attached_gpus>
  <gpu id="00000000:04:00.0">
    <product_name>NVIDIA L4</product_name>
    <uuid>GPU-0a5dc1fe-0000-4c3b-9c4e-6f2d5a1b0e77</uuid>
  </gpu>
  <gpu id="00000000:65:00.0">
    <product_name>NVIDIA A100-SXM4-40GB</product_name>
    <uuid>GPU-7b1e2c34-0000-4d5f-8a9b-0c1d2e3f4a5b</uuid>
  </gpu>
</nvidia_smi_log>
"""
L4, A100 = "GPU-0a5dc1fe-0000-4c3b-9c4e-6f2d5a1b0e77", "GPU-7b1e2c34-0000-4d5f-8a9b-0c1d2e3f4a5b"


@pytest.fixture(autouse=True)
def _no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def plant_gpu(
    folder: Path, monkeypatch: pytest.MonkeyPatch, driver: str, cuda: str, code: int = 0
) -> None:
    """Put an ``nvidia-smi`` first in the path that answers as the driver's own does."""
    tool = folder / "nvidia-smi"
    answer = ANSWER.format(driver=driver, cuda=cuda)
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}END\nexit {code}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_a_gpu_with_a_new_driver_is_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_gpu(tmp_path, monkeypatch, "580.95.05", "13.0")
    device = place_of(load_target("cuda"), PLATFORM).device
    assert device.here
    assert device.description == "NVIDIA L4, one of 2, driver 580.95.05, CUDA 13.0"
    assert default_training_target(PLATFORM) == "cuda"


@pytest.mark.parametrize(
    ("visible", "model", "uuid"),
    [
        (None, "NVIDIA L4", L4),
        ("0", "NVIDIA L4", L4),
        ("1", "NVIDIA A100-SXM4-40GB", A100),
        ("1,0", "NVIDIA A100-SXM4-40GB", A100),
        (A100, "NVIDIA A100-SXM4-40GB", A100),
        ("GPU-7b1e", "NVIDIA A100-SXM4-40GB", A100),
    ],
)
def test_steps_see_one_gpu_the_same_in_containers_and_without(
    visible: str | None, model: str, uuid: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_gpu(tmp_path, monkeypatch, "580.95.05", "13.0")
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    device = place_of(load_target("cuda"), PLATFORM).device
    assert (device.model, device.environment) == (model, {"CUDA_VISIBLE_DEVICES": uuid})
    capabilities = [["gpu", "compute", "utility"]]
    assert device.container == {
        "device_requests": [{"device_ids": [uuid], "capabilities": capabilities}]
    }


def test_several_gpus_are_those_of_one_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_gpu(tmp_path, monkeypatch, "580.95.05", "13.0")
    device = place_of(load_target("cuda"), PLATFORM).device
    assert device.times(1) is device
    with pytest.raises(EnvironmentUnable, match="asks for 2 GPUs, and there are 1 of one model"):
        device.times(2)
    monkeypatch.setattr(sys.modules[__name__], "ANSWER", ANSWER.replace("A100-SXM4-40GB", "L4"))
    plant_gpu(tmp_path, monkeypatch, "580.95.05", "13.0")
    two = place_of(load_target("cuda"), PLATFORM).device.times(2)
    assert two.description == "NVIDIA L4, 2 of 2, driver 580.95.05, CUDA 13.0"
    assert two.environment == {"CUDA_VISIBLE_DEVICES": f"{L4},{A100}"}
    assert two.container["device_requests"][0]["device_ids"] == [L4, A100]  # type: ignore[index]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with pytest.raises(EnvironmentUnable, match="there are 1 of one model"):
        place_of(load_target("cuda"), PLATFORM).device.times(2)


@pytest.mark.parametrize("visible", ["", "-1", "2", "GPU-ffff"])
def test_a_choice_of_no_gpu_is_no_gpu(
    visible: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_gpu(tmp_path, monkeypatch, "580.95.05", "13.0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    device = place_of(load_target("cuda"), PLATFORM).device
    assert f"CUDA_VISIBLE_DEVICES is '{visible}'" in device.absence
    assert default_training_target(PLATFORM) == "cpu"


def test_a_driver_too_old_is_said_with_both_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_gpu(tmp_path, monkeypatch, "535.183.01", "12.2")
    device = place_of(load_target("cuda"), PLATFORM).device
    assert device.absence == (
        "the driver 535.183.01 supports CUDA 12.2, the cuda toolchain is locked to CUDA 13.0; "
        "install driver 580 or newer"
    )
    assert default_training_target(PLATFORM) == "cpu"


@pytest.mark.parametrize(("cuda", "code"), [("13.0", 9), ("N/A", 0), ("", 0)])
def test_a_broken_driver_is_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuda: str, code: int
) -> None:
    plant_gpu(tmp_path, monkeypatch, "580.95.05", cuda, code)
    assert "no NVIDIA GPU" in place_of(load_target("cuda"), PLATFORM).device.absence


def test_required_devices_are_named_with_the_reason() -> None:
    places = [place_of(load_target(name), PLATFORM) for name in ("cpu", "directml")]
    require_devices(places[:1])
    with pytest.raises(EnvironmentUnable, match="directml: DirectML runs on Windows only"):
        require_devices(places)


def test_a_build_that_must_be_verified_stops_before_any_work(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    options = ["--config", str(project.config), "--cache", str(tmp_path / "cache")]
    ran = CliRunner().invoke(
        main, ["build", "--target", "directml", "--require-verified", *options]
    )
    assert isinstance(ran.exception, EnvironmentUnable)
    assert ran.exception.exit_code == 4
    assert not (tmp_path / "cache").exists()


def test_windows_runs_directml_and_does_not_build_it() -> None:
    target = load_target("directml")
    assert place_of(target, "windows/amd64").toolchain.lock.is_file()
    with pytest.raises(EnvironmentUnable, match="checks only; it builds on linux/amd64"):
        building_place(target, "windows/amd64")


def test_where_no_gpu_is_webgpu_is_emulated() -> None:
    device = place_of(load_target("webgpu"), "linux/amd64").device
    assert not device.here
    assert device.emulation == "SwiftShader"


@pytest.mark.parametrize("name", ["cpu", "cuda", "directml"])
def test_nothing_emulates_other_devices(name: str) -> None:
    assert place_of(load_target(name), "linux/amd64").device.emulation == ""


def test_a_platform_without_a_toolchain_is_said_with_those_there_are() -> None:
    with pytest.raises(EnvironmentUnable, match="no directml toolchain for linux/arm64") as caught:
        building_place(load_target("directml"), "linux/arm64")
    assert caught.value.hint == "build it on linux/amd64"


def test_every_target_has_a_device_that_can_be_looked_for() -> None:
    for name in target_names():
        target = load_target(name)
        for platform in target.platforms:
            find_device(target.device, target.toolchain(platform))
    assert place_of(load_target("cpu"), this_machine()).device.here
