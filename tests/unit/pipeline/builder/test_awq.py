"""AWQ's factors against rounding done plainly, on products themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.builder.awq import Awq, Reader

INPUTS, OUTPUTS, TOKENS, BLOCK = 96, 64, 400, 32


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


def alone(count: int) -> Any:
    """Each input has a factor of its own."""
    return np.arange(count)[:, None]


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
def test_products_change_less_than_without_factors(
    problem: tuple[Any, Any], bits: int, symmetric: bool
) -> None:
    weight, inputs = problem
    method = Awq(bits, BLOCK, symmetric)
    found = method.scales([Reader(weight, inputs.T @ inputs)], alone(INPUTS))
    plain = changed(weight, inputs, np.zeros(INPUTS), bits, symmetric)
    scaled = changed(weight, inputs, found.exponents, bits, symmetric)
    assert scaled < 0.85 * plain
    assert (found.error, found.plain_error) == pytest.approx((scaled, plain), rel=1e-2)


def test_they_win_as_much_as_the_papers_search(problem: tuple[Any, Any]) -> None:
    weight, inputs = problem
    found = Awq(4, BLOCK, True).scales([Reader(weight, inputs.T @ inputs)], alone(INPUTS))
    sizes = np.maximum(np.sqrt((inputs**2).mean(0)), 1e-4)
    by_paper = [
        changed(weight, inputs, np.log2(sizes**exponent) * 4, 4, True)
        for exponent in np.linspace(0, 1, 21)
    ]
    assert found.error < min(by_paper) < changed(weight, inputs, np.zeros(INPUTS), 4, True)


def test_matrices_that_read_the_same_share_factors_that_help_both(
    problem: tuple[Any, Any],
) -> None:
    weight, inputs = problem
    other = np.random.default_rng(4).normal(size=(24, INPUTS)).astype(np.float32) * 100
    gram = inputs.T @ inputs
    readers = [Reader(weight, gram), Reader(other, gram)]
    exponents = Awq(4, BLOCK, True).scales(readers, alone(INPUTS)).exponents
    for matrix in (weight, other):
        plain = changed(matrix, inputs, np.zeros(INPUTS), 4, True)
        assert changed(matrix, inputs, exponents, 4, True) < 0.9 * plain


def test_inputs_may_share_a_factor(problem: tuple[Any, Any]) -> None:
    weight, inputs = problem
    twice, both = np.tile(weight, (1, 2)), np.concatenate([inputs, inputs[::-1]], axis=1)
    shared = np.stack([np.arange(INPUTS), np.arange(INPUTS, 2 * INPUTS)], axis=1)
    found = Awq(4, BLOCK, True).scales([Reader(twice, both.T @ both)], shared)
    assert len(found.exponents) == INPUTS
    plain = changed(twice, both, np.zeros(2 * INPUTS), 4, True)
    scaled = changed(twice, both, np.tile(found.exponents, 2), 4, True)
    assert scaled < 0.85 * plain
    assert (found.error, found.plain_error) == pytest.approx((scaled, plain), rel=1e-2)


def test_inputs_that_depend_on_each_other_never_make_it_worse() -> None:
    random = np.random.default_rng(5)
    for _ in range(3):
        few = random.normal(size=(TOKENS, 2)) @ random.normal(size=(2, INPUTS))
        weight = random.normal(size=(24, INPUTS)).astype(np.float32)
        found = Awq(4, BLOCK, True).scales([Reader(weight, few.T @ few)], alone(INPUTS))
        plain = changed(weight, few, np.zeros(INPUTS), 4, True)
        assert changed(weight, few, found.exponents, 4, True) < plain


def test_weights_of_zero_and_inputs_that_are_never_there(problem: tuple[Any, Any]) -> None:
    weight = problem[0].copy()
    weight[:, :BLOCK] = 0
    method = Awq(4, BLOCK, False)
    found = method.scales([Reader(weight, np.zeros((INPUTS, INPUTS)))], alone(INPUTS))
    assert not found.exponents.any()
    assert found.error == 0
    weight[5, 50] = np.inf
    with pytest.raises(ValueError, match="infinite"):
        method.scales([Reader(weight, np.eye(INPUTS))], alone(INPUTS))
