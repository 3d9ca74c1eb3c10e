"""AWQ's factors against rounding done plainly, on products themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.builder.awq import Awq, Reader

INPUTS, OUTPUTS, TOKENS, BLOCK = 96, 64, 400, 32


def each(run: Any, work: Any) -> None:
    """Do one piece of work after the other."""
    for piece in work:
        run(piece)


@pytest.fixture(scope="module")
def problem() -> tuple[Any, Any]:
    """A matrix, and inputs of which some are much larger than others."""
    random = np.random.default_rng(3)
    inputs = random.normal(size=(TOKENS, INPUTS)) * random.gamma(0.4, size=INPUTS)
    inputs[:, 11] = 0  # one that is never there
    return random.normal(size=(OUTPUTS, INPUTS)).astype(np.float32), inputs


def rounded(weight: Any, bits: int, symmetric: bool) -> Any:
    """Round each block from its smallest to its largest weight, in float64."""
    blocks = weight.astype(np.float64).reshape(len(weight), -1, BLOCK)
    middle, largest = 1 << (bits - 1), (1 << bits) - 1
    if symmetric:
        furthest = np.take_along_axis(blocks, np.abs(blocks).argmax(2)[..., None], 2)
        scale, zero = furthest / -middle, np.full(furthest.shape, middle)
    else:
        low = np.minimum(blocks.min(2, keepdims=True), 0)
        scale = (np.maximum(blocks.max(2, keepdims=True), 0) - low) / largest
        zero = np.clip(np.rint(-low / scale), 1, largest)
    whole = np.clip(np.rint(blocks / scale) + zero, 0, largest)
    return ((whole - zero) * scale).reshape(weight.shape)


def changed(weight: Any, inputs: Any, exponents: Any, bits: int, symmetric: bool) -> float:
    """Return by how much rounding changes the products, with scaled weights and inputs."""
    factors = 2.0 ** (exponents.astype(float) / 4)
    exact = inputs @ weight.astype(np.float64).T
    found = (inputs / factors) @ rounded(weight * factors, bits, symmetric).T
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
def test_products_change_less_than_without_factors(
    problem: tuple[Any, Any], bits: int, symmetric: bool
) -> None:
    weight, inputs = problem
    found = Awq(bits, BLOCK, symmetric).scales(
        [Reader(weight[None], (inputs**2).sum(0)[None])], each
    )
    plain = changed(weight, inputs, np.zeros(INPUTS), bits, symmetric)
    scaled = changed(weight, inputs, found.exponents, bits, symmetric)
    assert scaled < 0.85 * plain
    # What it expects is what happens, for inputs that do not depend on each other.
    assert (found.error, found.plain_error) == pytest.approx((scaled, plain), rel=0.1)


def test_matrices_that_read_the_same_share_factors_that_help_both(
    problem: tuple[Any, Any],
) -> None:
    weight, inputs = problem
    other = np.random.default_rng(4).normal(size=(24, INPUTS)).astype(np.float32) * 100
    squares = (inputs**2).sum(0)[None]
    readers = [Reader(weight[None], squares), Reader(other[None], squares)]
    exponents = Awq(4, BLOCK, True).scales(readers, each).exponents
    for matrix in (weight, other):
        plain = changed(matrix, inputs, np.zeros(INPUTS), 4, True)
        assert changed(matrix, inputs, exponents, 4, True) < 0.85 * plain


def test_inputs_that_share_a_factor_are_pieces_of_a_matrix(problem: tuple[Any, Any]) -> None:
    weight, inputs = problem
    twice, both = np.tile(weight, (1, 2)), np.concatenate([inputs, inputs[:, ::-1]], axis=1)
    squares = (both**2).sum(0)
    pieces = Reader(
        np.stack([twice[:, :INPUTS], twice[:, INPUTS:]]),
        np.stack([squares[:INPUTS], squares[INPUTS:]]),
    )
    found = Awq(4, BLOCK, True).scales([pieces], each)
    exponents = np.tile(found.exponents, 2)
    plain = changed(twice, both, np.zeros(2 * INPUTS), 4, True)
    assert changed(twice, both, exponents, 4, True) < plain
    assert found.plain_error == pytest.approx(plain, rel=0.1)


def test_weights_of_zero_and_inputs_that_are_never_there(problem: tuple[Any, Any]) -> None:
    weight = problem[0].copy()
    weight[:, :BLOCK] = 0
    method = Awq(4, BLOCK, False)
    found = method.scales([Reader(weight[None], np.zeros((1, INPUTS)))], each)
    assert not found.exponents.any()
    assert found.error == 0
    weight[5, 50] = np.inf
    with pytest.raises(ValueError, match="infinite"):
        method.scales([Reader(weight[None], np.ones((1, INPUTS)))], each)
