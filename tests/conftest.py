"""What all tests share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_leftovers_of_the_users_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests apart from the cache of the person who runs them."""
    monkeypatch.delenv("QUERN_CACHE", raising=False)
