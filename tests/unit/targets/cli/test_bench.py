"""How a bench ends."""

from __future__ import annotations

from targets.cli.commands.bench import _regression
from tests.support.bench_data import bench
from tests.support.compared_benches import compared


def test_a_regression_is_a_failure_that_names_it() -> None:
    failure = _regression([compared()])
    assert failure is not None
    assert "cpu: each token, 2112 tokens is slower" in str(failure)
    assert failure.exit_code == 3
    assert _regression([bench()]) is None
