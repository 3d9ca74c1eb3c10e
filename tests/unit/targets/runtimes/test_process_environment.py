"""A process gets what the toolchain sets, but its cap of instruction sets only if asked to."""

from dataclasses import replace
from pathlib import Path

from targets.runtimes.process_environment import process_environment
from targets.runtimes.runtime import ProcessLimits
from targets.target import load_target
from tests.support.runtime_support import request


def test_the_cap_of_instruction_sets_is_a_choice(tmp_path: Path) -> None:
    toolchain = load_target("cpu").toolchain("linux/amd64")
    portable = request(tmp_path, {})
    capped = process_environment(toolchain, portable, home="/home", code="/code")
    assert capped["ATEN_CPU_CAPABILITY"] == "avx2"
    native = request(tmp_path, {}, resources=ProcessLimits(portable=False))
    free = process_environment(toolchain, native, home="/home", code="/code")
    assert capped.keys() - free.keys() == toolchain.environment.keys()
    assert free.items() <= capped.items()


def test_the_one_device_is_shown_to_the_process(tmp_path: Path) -> None:
    toolchain = load_target("cuda").toolchain("linux/amd64")
    asked = replace(request(tmp_path, {}), visible={"CUDA_VISIBLE_DEVICES": "GPU-1"})
    shown = process_environment(toolchain, asked, home="/home", code="/code")
    assert shown["CUDA_VISIBLE_DEVICES"] == "GPU-1"
