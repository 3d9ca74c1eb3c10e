"""A tuned model is held against its base by how both read, where no row is held out."""

from __future__ import annotations

from math import exp, log
from pathlib import Path

import pytest

from pipeline.checks.general import Check, GeneralParams
from pipeline.contract.result import Verdict
from pipeline.contract.step import Inputs
from pipeline.evaluation.general import Reading
from tests.support.silent import Silent


def verdict(tmp_path: Path, base: float, tuned: float, limit: float = 9.0) -> Verdict:
    """Return the verdict on a model that lost these nats per token before and after."""
    paths = {}
    for name, loss in (("base", base), ("tuned", tuned)):
        paths[f"{name}_reading"] = folder = tmp_path / name
        folder.mkdir()
        Reading(loss=loss, tokens=900, vocabulary=1000).save(folder)
    inputs = Inputs(paths, None, 0, 1, Silent())
    params = GeneralParams(max_general_perplexity_increase=limit)
    (found,) = Check().run(inputs, params).verdicts
    return found


@pytest.mark.parametrize(
    ("tuned", "limit", "status"),
    [(2.0, 9.0, "passed"), (4.2, 9.0, "passed"), (4.4, 9.0, "failed"), (4.4, 20.0, "passed")],
)
def test_it_may_not_grow_beyond_the_limit(
    tmp_path: Path, tuned: float, limit: float, status: str
) -> None:
    found = verdict(tmp_path, 2.0, tuned, limit)
    assert (found.name, found.status) == ("general_perplexity", status)
    assert found.value == pytest.approx(exp(tuned - 2.0) - 1)


def test_a_base_that_cannot_read_leaves_it_open(tmp_path: Path) -> None:
    found = verdict(tmp_path, 0.51 * log(1000), 50.0)
    assert found.status == "unverified"
    assert "cannot read" in found.detail
