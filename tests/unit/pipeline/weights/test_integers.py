"""Integers in GPTQ's checkpoint format, read bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.contract.errors import StepError
from pipeline.weights.files import stored_in
from pipeline.weights.integers import (
    IntegerCheckpoint,
    Integers,
    can_be_stored,
    quantization_config,
)

OUTPUTS, INPUTS, BLOCK = 16, 64, 32
CONFIG = {"quantization_config": quantization_config(4, BLOCK, symmetric=False)}


def some(bits: int = 4) -> Integers:
    """Return a matrix of random integers."""
    random = np.random.default_rng(3)
    most = 1 << bits
    return Integers(
        random.integers(0, most, (OUTPUTS, INPUTS)).astype(np.uint8),
        random.normal(size=(OUTPUTS, INPUTS // BLOCK)).astype(np.float16),
        random.integers(1, most, (OUTPUTS, INPUTS // BLOCK)).astype(np.uint8),
        bits,
        BLOCK,
    )


@pytest.mark.parametrize("bits", [4, 8])
def test_words_hold_what_the_format_says(bits: int) -> None:
    matrix = some(bits)
    stored = matrix.stored()
    each = 32 // bits
    for row, column in ((0, 0), (3, 17), (15, 63)):
        word = int(stored["qweight"][column // each, row]) & 0xFFFFFFFF
        assert (word >> (column % each * bits)) & ((1 << bits) - 1) == matrix.values[row, column]
        block = column // BLOCK
        word = int(stored["qzeros"][block, row // each]) & 0xFFFFFFFF
        zero = (word >> (row % each * bits)) & ((1 << bits) - 1)
        assert zero + 1 == matrix.zeros[row, block]
        assert stored["scales"][block, row] == matrix.scales[row, block]
        assert stored["g_idx"][column] == block


def test_weights_are_those_of_the_formula() -> None:
    matrix = some()
    for row, column in ((0, 0), (3, 17), (15, 63)):
        block = column // BLOCK
        centred = int(matrix.values[row, column]) - int(matrix.zeros[row, block])
        assert matrix.weights[row, column] == np.float32(centred) * np.float32(
            matrix.scales[row, block]
        )


def written(folder: Path, tensors: dict[str, Any]) -> IntegerCheckpoint:
    """Write a checkpoint with one layer, and open it."""
    file = folder / "model.safetensors"
    save_file({f"a.b.{name}": value for name, value in tensors.items()}, file)
    return IntegerCheckpoint(CONFIG, stored_in(file))


def test_a_checkpoint_gives_back_what_was_stored(tmp_path: Path) -> None:
    matrix = some()
    with written(tmp_path, matrix.stored()) as checkpoint:
        assert checkpoint.names == {"a.b.weight"}
        found = checkpoint.read("a.b.weight")
    for part in ("values", "scales", "zeros"):
        assert np.array_equal(getattr(found, part), getattr(matrix, part)), part


@pytest.mark.parametrize("fault", ["order", "scales", "missing"])
def test_what_is_no_whole_matrix_is_refused(tmp_path: Path, fault: str) -> None:
    tensors = some().stored()
    if fault == "order":
        tensors["g_idx"] = tensors["g_idx"][::-1].copy()
    elif fault == "scales":
        tensors["scales"] = tensors["scales"][:1]
    else:
        del tensors["qzeros"]
    with (
        written(tmp_path, tensors) as checkpoint,
        pytest.raises(StepError, match=r"integers of a\.b\.weight are broken"),
    ):
        checkpoint.read("a.b.weight")


@pytest.mark.parametrize("change", [{"quant_method": "awq"}, {"bits": 3}, {"group_size": -1}])
def test_other_formats_are_refused(change: dict[str, Any]) -> None:
    config = {"quantization_config": {**CONFIG["quantization_config"], **change}}
    with pytest.raises(StepError, match="no matrices in GPTQ's format"):
        IntegerCheckpoint(config, {})


def test_room_for_whole_words_and_blocks_only() -> None:
    assert can_be_stored((16, 64), 4, 32)
    assert not can_be_stored((16, 48), 4, 32)
    assert not can_be_stored((12, 64), 4, 32)
    assert can_be_stored((12, 64), 8, 32)
