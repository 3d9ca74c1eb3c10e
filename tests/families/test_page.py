"""The page about models says what the table of families says."""

from __future__ import annotations

from tests.families.page import PAGE, page
from tests.families.table import FAMILIES


def test_the_page_is_made_from_the_table() -> None:
    assert PAGE.read_text("utf-8") == page(), "run `python -m tests.families.page`"


def test_what_is_not_proven_says_why() -> None:
    results = [result for family in FAMILIES for result in family.results.values()]
    assert all(result.why and result.word != "proven" for result in results)
