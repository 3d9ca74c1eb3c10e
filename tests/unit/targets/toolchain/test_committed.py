"""The committed toolchains: their locks, and what the host knows of the builders inside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.onnx.kernels.table import read_table
from targets.devices.cuda import cuda_of
from targets.devices.find import find_device
from targets.target import load_target, target_names
from targets.toolchain.builder_options import read_builder_options
from targets.toolchain.image import installer
from targets.toolchain.locked_builder import builder_pin
from targets.toolchain.requirements import read_lock
from targets.toolchain.toolchain import Toolchain

RUNTIMES = {"onnxruntime", "onnxruntime-gpu", "onnxruntime-directml"}
BUILDERS = {"onnxruntime-genai", "onnxruntime-genai-cuda", "onnxruntime-genai-directml"}


def _toolchains() -> Iterator[Toolchain]:
    for name in target_names():
        target = load_target(name)
        for platform in target.platforms:
            yield target.toolchain(platform)


TOOLCHAINS = list(_toolchains())


def names_of(toolchain: Toolchain) -> set[str]:
    return {str(pin.name) for pin in read_lock(toolchain.lock)}


def title(toolchain: Toolchain) -> str:
    return f"{toolchain.target}-{toolchain.platform.replace('/', '-')}"


@pytest.mark.parametrize("toolchain", TOOLCHAINS, ids=title)
def test_no_two_flavours_of_onnxruntime_meet(toolchain: Toolchain) -> None:
    names = names_of(toolchain)
    assert len(names & RUNTIMES) == 1
    assert len(names & BUILDERS) == 1
    flavours = {name.rpartition("-")[2] for name in names & (RUNTIMES | BUILDERS)}
    assert flavours <= {"onnxruntime", "genai"} or flavours in ({"gpu", "cuda"}, {"directml"})


@pytest.mark.parametrize("toolchain", TOOLCHAINS, ids=title)
def test_each_lock_is_for_its_platform_and_complete(toolchain: Toolchain) -> None:
    first = toolchain.lock.read_text().splitlines()[0]
    assert first.endswith(
        f"from {toolchain.requirements} for CPython 3.11 on {toolchain.platform}."
    )
    asked = {
        line.partition("=")[0].partition("[")[0]
        for file in toolchain.requirement_files
        for line in file.read_text().splitlines()
        if line and not line.startswith("#")
    }
    assert asked <= names_of(toolchain)
    assert read_lock(installer(toolchain).lock)


@pytest.mark.parametrize("toolchain", TOOLCHAINS, ids=title)
def test_what_the_parent_pins_is_pinned_as_it_is_there(toolchain: Toolchain) -> None:
    if toolchain.parent is None:
        assert toolchain.target == "cuda" or not toolchain.platform.startswith("linux/")
        return
    inherited, own = ({*read_lock(one.lock)} for one in (toolchain.parent, toolchain))
    assert {"torch", "transformers", "peft"} <= names_of(toolchain.parent)
    assert inherited < own
    assert not (RUNTIMES | BUILDERS) & names_of(toolchain.parent)


def test_cuda_is_of_one_major_version_throughout() -> None:
    toolchain = load_target("cuda").toolchain("linux/amd64")
    pins = {str(pin.name): pin.version for pin in read_lock(toolchain.lock)}
    assert cuda_of(toolchain).major == 13
    assert pins["torch"].local is None, "a torch for another device"
    majors = {
        version.major
        for name, version in pins.items()
        if name in ("nvidia-cuda-runtime", "nvidia-cublas", "nvidia-cuda-nvrtc", "cuda-toolkit")
    }
    assert majors == {13}


@pytest.mark.parametrize("name", target_names())
def test_the_builder_options_are_those_of_the_locked_builder(name: str) -> None:
    target = load_target(name)
    platform = next(name for name, rules in target.platforms.items() if rules.builds)
    toolchain = target.toolchain(platform)
    known, pin = read_builder_options(toolchain.image_dir), builder_pin(toolchain)
    assert (known.package, known.version) == (str(pin.name), str(pin.version))
    assert ("block_size" in known.options) != ("int4_block_size" in known.options)
    assert {"LlamaForCausalLM", "Phi3ForCausalLM"} <= {*known.supported.architectures}
    assert {"hidden_size", "rope_theta"} <= {*known.supported.config_keys}


def test_directml_is_built_by_the_generation_that_runs_it() -> None:
    target = load_target("directml")
    built, run = (
        {str(pin.name).removesuffix("-directml"): pin.version for pin in read_lock(chain.lock)}
        for chain in (target.toolchain("linux/amd64"), target.toolchain("windows/amd64"))
    )
    for package in ("onnxruntime", "onnxruntime-genai"):
        assert built[package] == run[package]


@pytest.mark.parametrize("name", target_names())
def test_a_kernel_table_or_an_emulation_shows_what_each_provider_runs(name: str) -> None:
    target = load_target(name)
    table = read_table(target.execution_provider)
    if table is None:
        assert find_device(target.device, target.toolchain("linux/amd64")).emulation
        return
    assert "com.microsoft:MatMulNBits" in table.operators
