"""Forms of answers."""

from __future__ import annotations

import pytest

from pipeline.evaluation.structured import is_json, matches


@pytest.mark.parametrize(
    ("text", "keys", "good"),
    [
        ('{"tone": "joy"}', (), True),
        (' {"tone": "joy"}\n', ("tone",), True),
        ('{"tone": "joy"}', ("tone", "why"), False),
        ('["tone"]', ("tone",), False),
        ("[1, 2]", (), True),
        ('{"tone": NaN}', (), False),
        ('{"tone": "joy"} and more', (), False),
        ('```json\n{"tone": "joy"}\n```', (), False),
        ("", (), False),
    ],
)
def test_json(text: str, keys: tuple[str, ...], good: bool) -> None:
    assert is_json(text, keys) is good


def test_a_pattern_covers_all_of_the_answer() -> None:
    assert matches(" joy\n", "joy|fear")
    assert not matches("joyful", "joy|fear")
