"""GPTQ against the paper's own formulas, computed the long way: with explicit inverses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.builder.gptq import Gptq, error_of

INPUTS, OUTPUTS, TOKENS, BLOCK, DAMPING = 96, 40, 300, 32, 0.01


def each(run: Any, work: Any) -> None:
    """Do one piece of work after the other."""
    for piece in work:
        run(piece)


@pytest.fixture(scope="module")
def problem() -> tuple[Any, Any]:
    """A matrix, and inputs that depend on each other, some of them strongly."""
    random = np.random.default_rng(7)
    mixing = random.normal(size=(INPUTS, INPUTS)) * random.gamma(0.5, size=INPUTS)
    inputs = random.normal(size=(TOKENS, INPUTS)) @ mixing
    inputs[:, 11] = 0  # one that is never there
    return random.normal(size=(OUTPUTS, INPUTS)).astype(np.float32), inputs


def by_the_paper(weight: Any, inputs: Any, scales: Any, zeros: Any, largest: int) -> Any:
    """Optimal Brain Quantization in a given order (equations 2 and 3 of the paper), in float64.

    After each input the inverse of what is left of H is computed anew: no Cholesky, no blocks.
    """
    gram = inputs.T @ inputs
    order = np.argsort(-np.diag(gram), kind="stable")
    gram = gram + np.eye(INPUTS) * DAMPING * np.diag(gram).mean()
    left, changed = list(order), weight.astype(np.float64).copy()
    values = np.zeros(weight.shape, np.uint8)
    while left:
        inverse = np.linalg.inv(gram[np.ix_(left, left)])
        at, block = left[0], left[0] // BLOCK
        scale, zero = scales[:, block].astype(np.float64), zeros[:, block].astype(np.float64)
        whole = np.clip(np.rint(changed[:, at] / scale) + zero, 0, largest)
        values[:, at] = whole
        error = changed[:, at] - (whole - zero) * scale
        changed[:, left] -= np.outer(error, inverse[0] / inverse[0, 0])
        left = left[1:]
    return values


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
def test_it_rounds_as_the_papers_formulas_do(
    problem: tuple[Any, Any], bits: int, symmetric: bool
) -> None:
    weight, inputs = problem
    method = Gptq(bits, BLOCK, symmetric, DAMPING)
    found = method.rounded(weight, inputs.T @ inputs, each)
    wanted = by_the_paper(weight, inputs, found.scales, found.zeros, (1 << bits) - 1)
    # In float32 a number in the very middle between two integers may go to the other one.
    assert np.mean(found.values != wanted) < 0.002
    assert np.abs(found.values.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("symmetric", [True, False])
def test_products_change_less_than_by_rounding_to_the_nearest(
    problem: tuple[Any, Any], symmetric: bool
) -> None:
    weight, inputs = problem
    gram = inputs.T @ inputs
    method = Gptq(4, BLOCK, symmetric, DAMPING)
    found = method.rounded(weight, gram, each)
    nearest = method.nearest(weight, found.scales, found.zeros)
    exact = inputs @ weight.astype(np.float64).T

    def measured(rounded: Any) -> float:
        changed = inputs @ rounded.astype(np.float64).T
        return float(np.linalg.norm(changed - exact) / np.linalg.norm(exact))

    assert measured(found.weights) < 0.8 * measured(nearest)
    for rounded in (found.weights, nearest):
        assert error_of(weight, rounded, gram) == pytest.approx(measured(rounded), rel=1e-3)
    scale = np.repeat(found.scales.astype(np.float32), BLOCK, axis=1)
    steps = np.repeat(found.zeros.astype(np.float32), BLOCK, axis=1)
    apart = np.abs(nearest - weight) / np.abs(scale)
    inside = (weight / scale + steps > 0) & (weight / scale + steps < 15)
    assert apart[inside].max() <= 0.501
    if symmetric:
        assert set(found.zeros.flat) == {8}
    else:
        assert 1 <= found.zeros.min() < found.zeros.max() <= 15


def test_a_block_of_zeros_stays_zero_and_what_is_no_number_is_refused(
    problem: tuple[Any, Any],
) -> None:
    weight, inputs = problem[0].copy(), problem[1]
    weight[3, :BLOCK] = 0
    found = Gptq(4, BLOCK, True, DAMPING).rounded(weight, np.zeros((INPUTS, INPUTS)), each)
    assert not found.weights[3, :BLOCK].any()
    weight[5, 5] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        Gptq(4, BLOCK, True, DAMPING).rounded(weight, inputs.T @ inputs, each)


def test_the_same_bytes_however_the_work_is_shared(problem: tuple[Any, Any]) -> None:
    weight, inputs = np.tile(problem[0], (20, 1)), problem[1]

    def backwards(run: Any, work: Any) -> None:
        each(run, list(reversed(work)))

    method = Gptq(4, BLOCK, False, DAMPING)
    one, other = (method.rounded(weight, inputs.T @ inputs, share) for share in (each, backwards))
    assert len(weight) > 512
    assert np.array_equal(one.values, other.values)
