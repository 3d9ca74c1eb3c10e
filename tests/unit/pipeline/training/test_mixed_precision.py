"""Which matrices are kept in int8: within a share, and by llama.cpp's rules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.contract.errors import StepError
from pipeline.contract.step import Inputs
from pipeline.training.mixed_params import MixedPrecisionParams
from pipeline.training.mixed_precision import choose_widths, most_sensitive
from pipeline.weights.widths import FILE, Widths
from tests.support.safetensors_files import write_safetensors
from tests.support.silent import Silent

PARTS = (
    *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    *("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
)
NATS: dict[tuple[str, ...], float] = {("a",): 0.5, ("b",): 0.4, ("c", "d"): 0.9, ("e",): 0.1}
SIZES: dict[tuple[str, ...], int] = {("a",): 100, ("b",): 10, ("c", "d"): 300, ("e",): 90}

FIRST_LAST_AND_EVERY_THIRD = {
    32: [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31],
    30: [0, 1, 2, 3, 5, 8, 11, 14, 17, 20, 23, 26, 27, 28, 29],
}
"""Layers that have more bits, by the number of all, worked out by hand. Of 32, 0 to 3 are below
32 / 8, 28 to 31 not below 7 * 32 / 8, and of the others those whose number less 4 leaves 2 of 3. Of
30, 0 to 3 are below 3.75, 27 to 29 not below 26.25, and of the others the number is less 3."""


@pytest.mark.parametrize(
    ("share", "chosen"),
    [
        (0.01, []),
        (0.02, [("b",)]),  # 10 of 500: most per weight, 0.04
        (0.22, [("b",), ("a",)]),
        # What is next has no room, and what comes after it has.
        (0.41, [("b",), ("a",), ("e",)]),
        (0.82, [("b",), ("a",), ("c", "d")]),
    ],
)
def test_most_is_saved_per_weight_and_no_more_than_the_share(
    share: float, chosen: list[tuple[str, ...]]
) -> None:
    assert most_sensitive(NATS, SIZES, share) == chosen


def test_equal_ones_are_taken_in_the_order_of_their_names() -> None:
    nats: dict[tuple[str, ...], float] = {("b",): 1.0, ("a",): 1.0, ("c",): 1.0}
    assert most_sensitive(nats, dict.fromkeys(nats, 5), 0.7) == [("a",), ("b",)]


def checkpoint(folder: Path, layers: int, tied: bool) -> Path:
    """Write a checkpoint of some layers with matrices of one number each."""
    folder.mkdir()
    config = {"num_hidden_layers": layers, "vocab_size": 4, "tie_word_embeddings": tied}
    (folder / "config.json").write_text(json.dumps(config))
    names = [f"model.layers.{layer}.{part}.weight" for layer in range(layers) for part in PARTS]
    tensors = {name: [[0.0]] for name in names}
    tensors["model.embed_tokens.weight"] = [[0.0]] * 4
    if not tied:
        tensors["lm_head.weight"] = [[0.0]] * 4
    write_safetensors(folder / "model.safetensors", tensors)
    return folder


@pytest.mark.parametrize(("layers", "tied"), [(32, False), (32, True), (30, True)])
@pytest.mark.parametrize(
    ("rule", "parts"),
    [
        ("k_quant_last", ()),
        ("k_quant_down", ("mlp.down_proj",)),
        (
            "k_quant_mixed",
            ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.down_proj"),
        ),
    ],
)
def test_the_rules_are_those_of_llama_cpp(
    tmp_path: Path, layers: int, tied: bool, rule: str, parts: tuple[str, ...]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    model = checkpoint(tmp_path / "model", layers, tied)
    inputs = Inputs({"model": model}, None, 0, 1, Silent())
    params = MixedPrecisionParams.model_validate({"choose": rule})
    made = choose_widths(inputs, params, out)
    head = "model.embed_tokens.weight" if tied else "lm_head.weight"
    expected = {head} | {
        f"model.layers.{layer}.{part}.weight"
        for layer in FIRST_LAST_AND_EVERY_THIRD[layers]
        for part in parts
    }
    widths = Widths.load(out)
    assert set(widths.int8) == expected
    assert len(widths.bits) == made["matrices"] == layers * 7 + 1
    wide = len(FIRST_LAST_AND_EVERY_THIRD[layers]) * len(parts)
    assert made["share"] == pytest.approx((4 + wide) / (4 + layers * 7))


@pytest.mark.parametrize("text", ["", "{}", '{"int8": "all"}', '{"int8": [], "more": 1}'])
def test_a_broken_list_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(StepError, match=f"{FILE} cannot be read"):
        Widths.load(tmp_path)
