"""Looks at growing data share one chance of error."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from pipeline.statistics.looks import confidence_of_look, next_look


def test_the_chances_of_all_looks_are_the_whole() -> None:
    spent = [1 - confidence_of_look(look, 0.99) for look in range(1, 10_000)]
    assert spent[0] == pytest.approx(0.005)
    assert sum(spent) == pytest.approx(0.01, rel=1e-3)
    assert sum(spent) < 0.01


def test_looks_are_at_half_as_many_again() -> None:
    assert [next_look(processes) for processes in (1, 3, 8, 12, 100)] == [2, 4, 12, 18, 150]


def test_a_test_after_every_few_samples_is_wrong_once_in_a_hundred_times() -> None:
    """One that is taken at 99 % each time is so several times as often."""
    rng = np.random.default_rng(3)
    draws = rng.normal(size=(4000, 700))
    counts = [8]
    while counts[-1] < 450:
        counts.append(next_look(counts[-1]))
    naive = np.zeros(4000, bool)
    ours = np.zeros(4000, bool)
    for look, count in enumerate(counts, start=1):
        score = draws[:, :count].sum(1) / np.sqrt(count)
        naive |= score > NormalDist().inv_cdf(0.99)
        ours |= score > NormalDist().inv_cdf(confidence_of_look(look, 0.99))
    assert ours.mean() < 0.01
    assert naive.mean() > 0.03
