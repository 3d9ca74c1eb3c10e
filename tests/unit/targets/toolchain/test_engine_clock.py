"""Times that engines write."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from targets.toolchain.engine_clock import time_of

NOON = datetime(2026, 11, 30, 12, 0, 5, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-30T12:00:05Z",
        "2026-11-30T12:00:05.123456789Z",
        "2026-11-30T12:00:05",
        "2026-11-30T13:00:05+01:00",
        "2026-11-30T04:30:05.1-07:30",
    ],
)
def test_a_time_is_read_in_its_zone(text: str) -> None:
    assert abs(time_of(text) - NOON) < timedelta(seconds=1)


def test_what_was_never_named_was_named_long_ago() -> None:
    assert time_of("0001-01-01T00:00:00Z") < NOON


def test_what_is_no_time_is_said() -> None:
    with pytest.raises(ValueError, match="this is no time: yesterday"):
        time_of("yesterday")
