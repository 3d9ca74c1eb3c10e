"""What a build will take of the disk, said before it takes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.builder.params import ModelBuilderParams
from pipeline.contract.space import Shape, SpaceEstimate, Weights
from pipeline.passes.float_reference import FloatReferenceParams
from pipeline.training.lora_params import LoraParams
from pipeline.training.lycoris_params import LohaParams
from pipeline.training.merge_params import MergeParams
from pipeline.tuning.params import TuneParams
from targets.cache import Cache
from targets.disk import Need, require_room
from targets.errors import EnvironmentUnable
from targets.planner.disk_space import Space, disk_needs, disk_space
from tests.support.planning import build, make_planner
from tests.support.project import Project, make_project

TOKENS, WIDTH, INNER = 32064, 3072, 8192
LAYER: Mapping[str, Shape] = {
    "qkv_proj": (3 * WIDTH, WIDTH),
    "o_proj": (WIDTH, WIDTH),
    "gate_up_proj": (2 * INNER, WIDTH),
    "down_proj": (WIDTH, INNER),
}
SHAPES = {
    "embed_tokens.weight": (TOKENS, WIDTH),
    "lm_head.weight": (TOKENS, WIDTH),
    **{f"layers.{n}.{name}.weight": shape for n in range(32) for name, shape in LAYER.items()},
}
MINI = Weights(SHAPES, tied=False, bytes=7_641_000_000, rotary=4096 * 96)
"""Phi-3-mini."""
BASE = {"model": SpaceEstimate(7_643_000_000, weights=MINI)}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project")


def space(project: Project, cache: Cache) -> Space:
    return disk_space(make_planner(project, cache).plan())


PLAIN = {"algorithm": "default", "embedding": "float"}


# Of real builds, and of the model builder itself.
@pytest.mark.parametrize(
    ("params", "gigabytes"),
    [
        (PLAIN, 2.72),
        ({**PLAIN, "execution_provider": "cuda"}, 2.29),
        ({**PLAIN, "block_size": 128}, 2.37),
        # 3.72 billion weights have half a byte of zero point per 32, and the 98.5 million of the
        # embedding take 1.125 bytes in place of 4.
        ({}, 2.72 + 0.058 - 0.283),
        ({"execution_provider": "cuda"}, 2.29 + 0.058),
        ({"precision": "fp32"}, 15.28),
        ({"precision": "fp16", "execution_provider": "cuda"}, 7.64),
    ],
)
def test_an_artifact_of_phi_3_mini(params: dict[str, Any], gigabytes: float) -> None:
    written = ModelBuilderParams.model_validate(params).writes(BASE)
    assert written is not None
    assert written.kept == pytest.approx(gigabytes * 1e9, rel=0.02)


def test_wider_weights_take_more() -> None:
    def stored(**params: Any) -> int:
        return ModelBuilderParams.model_validate(params).stored(MINI)

    plain = stored()
    wide = stored(precision="int8")
    for options in (
        {"algorithm": "k_quant_last"},
        {"algorithm": "k_quant_mixed"},
    ):
        assert plain < stored(**options) < wide
    without = stored(algorithm="default")
    assert without < stored(algorithm="default", symmetric=False) == plain
    assert without < stored(algorithm="rtn_last") < wide
    assert stored(op_types=["MatMul", "Gather"]) == stored(embedding="int4") < plain
    assert stored(embedding="float") > plain


def test_tuning_takes_all_finalists_since_they_are_timed_in_turns() -> None:
    written = TuneParams(finalists=3).writes(BASE)
    assert written is not None
    coarse = ModelBuilderParams().writes(BASE)
    assert coarse is not None
    assert (written.kept, written.temporary) == (coarse.kept, 2 * coarse.kept)
    assert TuneParams().writes({}) is None


def test_an_output_layer_that_is_the_embedding_is_stored_once_in_int4() -> None:
    shapes = {name: shape for name, shape in SHAPES.items() if "lm_head" not in name}
    tied = Weights(shapes, tied=True, bytes=7_444_000_000, rotary=MINI.rotary)
    rows = round(TOKENS * WIDTH * 1.125)  # a byte, and four bytes of scale per 32
    assert ModelBuilderParams().stored(tied) == ModelBuilderParams().stored(MINI) - rows
    for apart in ({"precision": "int8"}, {"shared_embeddings": False}):
        params = ModelBuilderParams.model_validate(apart)
        assert params.stored(tied) == params.stored(MINI)


def test_an_adapter_and_a_merge() -> None:
    adapter = LoraParams(r=16).writes(BASE)
    assert adapter is not None
    sides = 32 * sum(sum(shape) for shape in LAYER.values())
    assert adapter.kept == 4 * 16 * sides
    assert LohaParams(r=16).writes(BASE) == SpaceEstimate(2 * adapter.kept)
    assert LoraParams(r=16, target_modules=("qkv_proj",)).stored(MINI) < adapter.kept / 2
    whole = LoraParams(r=16, modules_to_save=("lm_head",)).stored(MINI)
    assert whole == adapter.kept + 4 * TOKENS * WIDTH
    assert MergeParams().writes(BASE) == BASE["model"]
    merged = MergeParams(dtype="fp32").writes(BASE)
    assert merged is not None
    assert merged.kept == pytest.approx(2 * BASE["model"].kept, rel=0.01)


def test_a_float_export_is_not_kept_and_not_made_of_a_large_model() -> None:
    inputs = {**BASE, "reference": SpaceEstimate(35_000_000)}
    assert FloatReferenceParams().writes(inputs) == SpaceEstimate(35_000_000)
    made = FloatReferenceParams(max_export=16 << 30).writes(inputs)
    assert made is not None
    assert (made.kept, round(made.temporary / 1e9)) == (35_000_000, 15)


def test_what_is_cached_takes_no_more(project: Project, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    before = space(project, cache)
    assert before.most > before.kept > 20_000_000
    assert before.unknown == ()
    build(project, cache)
    assert space(project, cache) == Space(0, 0, 0, ())


def test_a_model_of_the_hub_has_no_known_size(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    source = f'source = "hf:org/model@{"0" * 40}"'
    project.edit('[model.pretrain]\ntext = "story.txt"', f"[model]\n{source}")
    found = space(project, Cache(tmp_path / "cache"))
    assert {"fetch", "lora", "merge", "model_builder"} <= set(found.unknown)


def test_results_and_the_artifact_that_is_handed_out_need_room(
    project: Project, tmp_path: Path
) -> None:
    plan = make_planner(project, Cache(tmp_path / "cache")).plan()
    results, artifact = disk_needs(plan, tmp_path / "cache", tmp_path / "dist" / "deep")
    assert results.bytes == disk_space(plan).most
    assert artifact.bytes == disk_space(plan).artifact > 1_000_000


def test_needs_of_one_disk_are_added_up(tmp_path: Path) -> None:
    half = 500_000_000_000_000
    require_room([Need(tmp_path, 1000, "results"), Need(tmp_path / "new", 2000, "wheels")])
    with pytest.raises(EnvironmentUnable, match=r"about 1000\.0 TB are needed \(results") as caught:
        require_room([Need(tmp_path, half, "results"), Need(tmp_path / "new", half, "wheels")])
    assert caught.value.exit_code == 4
    assert caught.value.hint == "free some space"
