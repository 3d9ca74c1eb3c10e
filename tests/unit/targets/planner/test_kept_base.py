"""A large base in 4 bits: a step of its own, which trainings share."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest

from pipeline.contract.plan import StepInput
from pipeline.training.params import QUANTIZED
from targets.cache import Cache
from targets.devices.device import Device
from targets.errors import ConfigError
from targets.place import Place
from targets.planner.disk_space import disk_space
from targets.planner.planner import Planner
from targets.planner.shared_steps import may_stay, travels
from tests.support.planning import build, make_planner, replan
from tests.support.project import Project, make_project

PRETRAIN = '[model.pretrain]\ntext = "story.txt"\n'
LOCAL = '[model]\nsource = "base"\n'
WIDTH, LAYERS = 256, 8
MATRICES = {"qkv_proj": 768, "o_proj": 256, "gate_up_proj": 1408, "down_proj": 704}
WORDS = 2048
BOUND = 12_000_000
"""Bytes of a large model here: more than the model that pretraining makes by default."""
BESIDE = 30_000_000
"""Bytes that are assumed of a tokenizer and the like."""


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("targets.planner.planner.SMALL_BASE", BOUND)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return one that trains over a local base that counts as large."""
    project = make_project(tmp_path / "project")
    project.edit(PRETRAIN, LOCAL)
    project.edit("[passes.lora]", "[passes.qlora]")
    _checkpoint(project.folder / "base", LAYERS)
    return project


def test_a_training_over_a_large_base_reads_what_a_step_quantized(
    project: Project, cache: Cache
) -> None:
    plan = make_planner(project, cache).plan()
    assert [planned.step.name for planned in plan.steps][:2] == ["base-qlora", "qlora"]
    base, qlora = plan["base-qlora"].step, plan["qlora"].step
    assert base.params == {
        "quant_type": "nf4",
        "double_quant": True,
        "skip_modules": ["lm_head"],
        "weights_dtype": "float32",
        "trust_remote_code": False,
        "weights": "safetensors",
    }
    assert base.data is None
    assert base.inputs == {"model": qlora.inputs["model"]}
    assert qlora.inputs[QUANTIZED] == StepInput(step="base-qlora", key=base.key)


@pytest.mark.parametrize(
    "chain", ["[passes.lora]\nr = 8", "[passes.loftq]\nr = 8", "[passes.full_finetune]"]
)
def test_no_other_training_has_one(project: Project, cache: Cache, chain: str) -> None:
    """LoftQ fits the base to the adapter, and so to its rank."""
    project.edit("[passes.qlora]\nr = 8", chain)
    if "full" in chain:
        project.edit("[passes.merge]\n", "")
    assert not _kept(make_planner(project, cache))


def test_a_small_base_is_quantized_in_the_training(project: Project, cache: Cache) -> None:
    _checkpoint(project.folder / "base", 1)
    assert not _kept(make_planner(project, cache))


def test_so_is_one_that_is_trained_before_and_known_to_be_small(
    project: Project, cache: Cache
) -> None:
    project.edit(LOCAL, PRETRAIN)
    assert not _kept(make_planner(project, cache))
    build(project, cache)
    assert not replan(project, cache)


def test_one_from_a_hub_is_not_known_to_be_small(project: Project, cache: Cache) -> None:
    """Neither before nor after it was fetched: else its arrival would change keys."""
    hub = '[model]\nsource = "hf:org/model@' + 40 * "a" + '"\n'
    project.edit(LOCAL, hub)
    assert _kept(make_planner(project, cache))
    build(project, cache)
    assert not replan(project, cache)


@pytest.mark.parametrize(("absence", "kept"), [("", False), ("no driver", True)])
def test_a_gpu_that_is_here_quantizes_in_the_training(
    project: Project, cache: Cache, absence: str, kept: bool
) -> None:
    planner = make_planner(project, cache)
    toolchain = planner._toolchains["target"]
    gpu = Place(toolchain, Device("cuda", absence))
    assert _kept(Planner(planner._loaded, cache, gpu, gpu)) is kept


@pytest.mark.parametrize(
    ("settings", "shared"),
    [
        ("r = 4", True),
        ('learning_rate = 0.002\nseed = 3\ncompute_dtype = "bf16"\ndropout = 0.3', True),
        ('precision = "fp32"', True),
        ('precision = "bf16"', False),
        ("double_quant = false", False),
        ('quant_type = "fp4"', False),
        ('skip_modules = ["lm_head", "o_proj"]', False),
    ],
)
def test_trainings_share_a_base_that_does_not_depend_on_their_settings(
    project: Project, cache: Cache, settings: str, shared: bool
) -> None:
    build(project, cache)
    project.edit("r = 8", settings)
    again = replan(project, cache)
    assert "qlora" in again
    assert ("base-qlora" not in again) is shared


def test_other_rows_leave_the_base_as_it_is(project: Project, cache: Cache) -> None:
    build(project, cache)
    project.data.write_text(project.data.read_text().replace("number 7", "number seven"))
    again = replan(project, cache)
    assert "qlora" in again
    assert "base-qlora" not in again


def test_a_pass_cannot_have_the_name_of_the_step(project: Project, cache: Cache) -> None:
    project.edit("[passes.merge]", '[passes.base-qlora]\ntype = "merge"')
    with pytest.raises(ConfigError, match="this name is used by the step that quantizes a base"):
        make_planner(project, cache)


@pytest.mark.parametrize(
    ("settings", "bits", "other"),
    [("", 4.127, 4), ("double_quant = false", 4.5, 4), ('precision = "bf16"', 4.127, 2)],
)
def test_it_is_counted_on_the_disk_and_stays_where_it_is_made(
    project: Project, cache: Cache, settings: str, bits: float, other: int
) -> None:
    project.edit("r = 8", f"r = 8\n{settings}")
    plan = make_planner(project, cache).plan()
    without = disk_space(plan, {plan["base-qlora"].step.key}).kept
    quantized = LAYERS * WIDTH * sum(MATRICES.values())
    right = bits / 8 * quantized + other * 2 * WORDS * WIDTH
    assert disk_space(plan).kept - without - BESIDE == pytest.approx(right, rel=1e-3)
    assert not travels(plan["base-qlora"], plan, checkpoints=False)
    assert may_stay(plan["base-qlora"], plan)
    assert travels(plan["qlora"], plan, checkpoints=False)


def _kept(planner: Planner) -> bool:
    return any(planned.step.type == "quantize_base" for planned in planner.plan().steps)


def _checkpoint(folder: Path, layers: int) -> None:
    """Write a checkpoint of Phi-3's form, whose file has a hole for its weights in bf16."""
    folder.mkdir(exist_ok=True)
    shapes = {
        f"model.layers.{at}.{name}.weight": (rows, WIDTH)
        for at in range(layers)
        for name, rows in MATRICES.items()
    }
    shapes |= dict.fromkeys(("model.embed_tokens.weight", "lm_head.weight"), (WORDS, WIDTH))
    header, end = {}, 0
    for name, (rows, columns) in shapes.items():
        size = 2 * rows * columns
        header[name] = {
            "dtype": "BF16",
            "shape": [rows, columns],
            "data_offsets": [end, end + size],
        }
        end += size
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        os.truncate(file.fileno(), file.tell() + end)
    config = {"model_type": "phi3", "architectures": ["Phi3ForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
