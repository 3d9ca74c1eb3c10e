"""What another kind of CPU may train otherwise, as a plan shows it before anything is trained."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from targets.cache import Cache
from targets.config.load import load_config
from targets.devices.device import Device
from targets.place import Place
from targets.planner.planner import Planner
from targets.release.doubts import doubts
from targets.target import load_target
from tests.support.own_steps import add_own_steps
from tests.support.project import Project, make_project

CPU = Device("cpu")


def found(
    project: Project, device: Device = CPU, platform: str = "linux/amd64", model: Path | None = None
) -> tuple[str, ...]:
    target = load_target("cpu")
    loaded = load_config(project.config, [target])
    place = Place(target.toolchain(platform), device)
    plan = Planner(loaded, Cache(project.folder / "cache"), place, place).plan()
    return doubts([plan], replace(loaded, model_folder=model), place)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project")


def test_what_is_named_by_kernels_is_not_doubted(project: Project) -> None:
    assert found(project) == ()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('precision = "bf16"', "lora computes in bf16"),
        ('precision = "fp16"', "lora computes in fp16"),
        ('optimizer = "adamw_bnb_8bit"', "adamw_bnb_8bit is bitsandbytes' own"),
        ('optimizer = "paged_lion_32bit"', "paged_lion_32bit is bitsandbytes' own"),
        ('optimizer = "ademamix"', "ademamix is bitsandbytes' own"),
    ],
)
def test_parameters_of_a_pass_are_doubted(project: Project, line: str, words: str) -> None:
    project.edit("r = 8", f"r = 8\n{line}")
    (doubt,) = found(project)
    assert words in doubt


@pytest.mark.parametrize(
    "line", ['optimizer = "paged_adamw_32bit"', 'optimizer = "adafactor"', 'precision = "fp32"']
)
def test_what_pytorch_computes_in_fp32_is_not(project: Project, line: str) -> None:
    project.edit("r = 8", f"r = 8\n{line}")
    assert found(project) == ()


def test_the_format_of_products_of_4_bit_weights_counts_too(project: Project) -> None:
    project.edit("[passes.lora]\nr = 8", '[passes.qlora]\nr = 8\ncompute_dtype = "bf16"')
    (doubt,) = found(project)
    assert "qlora computes in bf16" in doubt


# As these models' config.json has it on the hub.
@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            {"model_type": "lfm2", "conv_L_cache": 3, "layer_types": ["conv", "full_attention"]},
            "convolutions",
        ),
        ({"model_type": "falcon_mamba", "conv_kernel": 4, "state_size": 16}, "convolutions"),
        ({"model_type": "jamba", "mamba_d_conv": 4}, "convolutions and state spaces"),
        ({"model_type": "recurrent_gemma", "conv1d_width": 4}, "convolutions"),
        ({"model_type": "qwen3_next", "linear_conv_kernel_dim": 4}, "convolutions"),
        ({"text_config": {"block_types": 1, "layer_types": ["recurrent"]}}, "recurrent layers"),
    ],
)
def test_layers_that_are_no_products_are_doubted(
    project: Project, tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (doubt,) = found(project, model=tmp_path)
    assert doubt == f"the model has {words}, which have no kernels chosen by name"


@pytest.mark.parametrize(
    "text",
    [
        '{"model_type": "llama", "hidden_size": 64, "layer_types": ["full_attention"]}',
        '{"model_type": "gemma3", "layer_types": ["sliding_attention"], "rope_parameters": {}}',
        "{",
        "[]",
    ],
)
def test_others_and_what_cannot_be_read_are_not(
    project: Project, tmp_path: Path, text: str
) -> None:
    (tmp_path / "config.json").write_text(text)
    assert found(project, model=tmp_path) == ()


def test_a_gpu_and_an_untested_platform_are_doubted(project: Project) -> None:
    (gpu,) = found(project, device=Device("cuda", description="NVIDIA H200"))
    assert "a device of the target cpu trains it" in gpu
    assert found(project, device=Device("cuda", absence="there is none")) == ()
    (arm,) = found(project, platform="linux/arm64")
    assert "no test has compared two kinds of CPU on linux/arm64" in arm


def test_a_pass_of_ones_own_is_doubted_and_a_check_is_not(project: Project) -> None:
    add_own_steps(project)
    (doubt,) = found(project)
    assert "scale is code of your own" in doubt


def test_where_nothing_is_trained_nothing_is_doubted(project: Project, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"conv_L_cache": 3}')
    target = load_target("cpu")
    loaded = load_config(project.config, [target])
    place = Place(target.toolchain("linux/arm64"), CPU)
    assert doubts([], replace(loaded, model_folder=tmp_path), place) == ()
