"""What the fine-tuning passes take, and which data sets can serve them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.contract.data_spec import DataSpec, Split
from pipeline.run.registry import load_pass
from pipeline.training.four_bit_params import LoftqParams, QloraParams
from pipeline.training.lora_params import LoraParams
from pipeline.training.params import FinetuneParams, TrainingLoopParams

KINDS = ("lora", "qlora", "loha", "lokr", "loftq")
COMMON = {
    "r": 4,
    "alpha": 8,
    "target_modules": "auto",
    "exclude_modules": ["o_proj"],
    "modules_to_save": ["lm_head"],
    "rank_pattern": {"qkv_proj": 2},
    "alpha_pattern": {"qkv_proj": 4},
    "layers": [0],
    "layers_pattern": ["layers"],
    "max_steps": 3,
    "weights": "any",
}


def spec(**fields: Any) -> DataSpec:
    return DataSpec(path="rows.jsonl", prompt="{a}", completion="{b}", **fields)


OWN, SHARED, NONE = (spec(split=Split(validation=share)) for share in (0.1, "eval", 0))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_takes_what_all_adapters_have(kind: str) -> None:
    params = load_pass(kind).Params.model_validate(COMMON)
    assert isinstance(params, FinetuneParams)
    assert params.target_modules == "auto"


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        ("lora", {"dropout": 0.1, "use_dora": True, "use_rslora": True, "bias": "all"}),
        ("loha", {"rank_dropout": 0.1, "module_dropout": 0.1, "init_weights": False}),
        ("lokr", {"decompose_both": True, "decompose_factor": 8, "rank_dropout_scale": True}),
        ("loftq", {"loftq_iter": 5, "dropout": 0.0, "skip_modules": ["lm_head"]}),
    ],
)
def test_each_kind_takes_its_own_and_not_the_others(kind: str, own: dict[str, Any]) -> None:
    load_pass(kind).Params.model_validate(own)
    for other in {"loha", "loftq"} - {kind}:
        with pytest.raises(ValidationError):
            load_pass(other).Params.model_validate(own)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"target_modules": []}, "nothing would be trained"),
        ({"target_modules": "(", "layers": None}, "not a regular expression"),
        ({"target_modules": ".*proj", "layers": [0]}, "put the layer into the regex"),
        ({"target_modules": ["lm_head"], "modules_to_save": ["lm_head"]}, "lm_head in both"),
        ({"layers_pattern": ["h"]}, "layers_pattern needs layers"),
        ({"r": 0}, "greater than or equal to 1"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(kind: str, wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        load_pass(kind).Params.model_validate(wrong)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"shuffle": False, "group_by_length": True}, "remove shuffle"),
        ({"scheduler": "constant", "scheduler_kwargs": {"a": 1}}, "takes no scheduler_kwargs"),
        ({"optimizer_kwargs": {"momentum": 0.9}}, "adamw_torch takes no momentum"),
        ({"optimizer": "sgd", "optimizer_kwargs": {"betas": 1}}, "it takes: momentum, dampening"),
        ({"eval_steps": 1.5}, "eval_steps"),
        ({"logging_steps": 0}, "logging_steps"),
    ],
)
def test_an_option_that_would_not_be_read_is_refused(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        TrainingLoopParams.model_validate(wrong)


@pytest.mark.parametrize(
    ("batch", "passes", "gpus", "each"),
    [
        (8, 4, 1, (8, 4)),
        (8, 4, 2, (8, 2)),
        (8, 4, 4, (8, 1)),
        (16, 1, 2, (8, 1)),
        (8, 3, 2, (4, 3)),
    ],
)
def test_processes_share_the_rows_of_a_step(
    batch: int, passes: int, gpus: int, each: tuple[int, int]
) -> None:
    params = TrainingLoopParams(batch_size=batch, gradient_accumulation=passes, gpus=gpus)
    assert (params.pass_rows, params.passes_per_step) == each
    assert params.pass_rows * params.passes_per_step * gpus == batch * passes


def test_processes_that_cannot_share_them_evenly_are_refused() -> None:
    with pytest.raises(ValidationError, match="gpus must divide"):
        TrainingLoopParams(batch_size=16, gradient_accumulation=2, gpus=3)


def test_intervals_are_steps_or_shares() -> None:
    params = TrainingLoopParams.model_validate({"eval_steps": 0.25, "logging_steps": "epoch"})
    assert (params.eval_steps, params.logging_steps) == (0.25, "epoch")
    assert isinstance(TrainingLoopParams(eval_steps=5).eval_steps, int)


def test_a_four_bit_base_says_how_it_is_quantized() -> None:
    assert LoraParams().base_quantization("float32") is None
    nested = QloraParams(quant_type="fp4").base_quantization("bfloat16")
    assert (nested.quant_type, nested.double_quant, nested.loftq) == ("fp4", True, None)
    assert nested.weights_dtype == "bfloat16"
    quantization = LoftqParams(loftq_iter=4).base_quantization("float32")
    assert (quantization.quant_type, quantization.double_quant) == ("nf4", False)
    assert quantization.loftq is not None
    assert quantization.loftq.iterations == 4


def test_products_follow_the_precision_unless_told() -> None:
    assert LoftqParams().multiplied_in("bf16") == "bf16"
    assert LoftqParams(compute_dtype="fp16").multiplied_in("bf16") == "fp16"


@pytest.mark.parametrize(
    ("data", "keep", "best", "chosen_by"),
    [
        (OWN, None, True, "validation"),
        (OWN, "last", False, None),
        (SHARED, None, False, None),
        (SHARED, "best", True, "eval"),
        (NONE, None, False, None),
        (spec(validation_data="more", split=Split(validation=0)), None, True, "validation"),
        (spec(validation_data="test", held_out="test"), None, False, None),
        (spec(validation_data="test", held_out="test"), "best", True, "eval"),
    ],
)
def test_the_held_out_part_chooses_only_where_asked(
    data: DataSpec, keep: Any, best: bool, chosen_by: str | None
) -> None:
    params = TrainingLoopParams(keep=keep)
    assert params.problems_with(data) == []
    assert params.keeps_best(data) is best
    assert params.chosen_by(data) == chosen_by


def test_stopping_by_the_held_out_part_is_choosing_by_it() -> None:
    assert TrainingLoopParams(early_stopping_patience=2).chosen_by(SHARED) == "eval"
    assert TrainingLoopParams(scheduler="reduce_lr_on_plateau").chosen_by(SHARED) == "eval"


@pytest.mark.parametrize(
    "wants",
    [
        {"keep": "best"},
        {"early_stopping_patience": 1},
        {"eval_steps": 5},
        {"eval_delay": 1},
        {"eval_on_start": True},
        {"scheduler": "greedy"},
    ],
)
def test_what_needs_a_validation_part_says_so(wants: dict[str, Any]) -> None:
    params = TrainingLoopParams.model_validate(wants)
    assert params.problems_with(OWN) == []
    assert params.problems_with(SHARED) == []
    (problem,) = params.problems_with(NONE)
    assert next(iter(wants)) in problem
    assert "split.validation" in problem
