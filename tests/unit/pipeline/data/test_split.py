"""The split: no text in two parts, the same parts everywhere, every label its share."""

from collections import Counter
from collections.abc import Sequence

import pytest

from pipeline.contract.data_spec import Split
from pipeline.data.chat import Message
from pipeline.data.examples import Example
from pipeline.data.normal_form import normalized
from pipeline.data.split import Parts, split


def example(text: str, label: str = "joy", line: int = 1) -> Example:
    return Example(line, (Message("user", text),), label, label=label)


def many(count: int, labels: int = 4) -> list[Example]:
    return [example(f"text {n}", f"label {n % labels}", n + 1) for n in range(count)]


def texts(part: Sequence[Example]) -> set[str]:
    return {normalized(item.text) for item in part}


def lines(parts: Parts) -> list[set[int]]:
    return [{item.line for item in part} for part in (parts.train, parts.validation, parts.eval)]


def test_shares_and_labels() -> None:
    parts = split(many(1000), Split(eval=0.3, validation=0.1))
    assert (len(parts.eval), len(parts.validation), len(parts.train)) == (300, 70, 630)
    assert set(Counter(item.label for item in parts.eval).values()) == {75}


def test_many_small_classes_still_add_up() -> None:
    parts = split(many(300, labels=100), Split(eval=0.25, validation=0))
    assert len(parts.eval) == 75
    assert {item.label for item in parts.train} == {f"label {n}" for n in range(100)}


@pytest.mark.parametrize("seed", range(5))
def test_equal_texts_never_part(seed: int) -> None:
    forms = ["Some  text {}", "some text {}", "SOME\ttext {}", " \uff53ome text {} "]
    rows = [example(forms[n % 4].format(n // 8), f"label {n % 3}", n) for n in range(400)]
    parts = split(rows, Split(seed=seed))
    assert not texts(parts.train) & texts(parts.eval)
    assert not texts(parts.train) & texts(parts.validation)
    assert not texts(parts.validation) & texts(parts.eval)
    assert len(parts.train) + len(parts.validation) + len(parts.eval) == 400
    assert len(texts(parts.eval)) == 15


def test_neither_order_nor_a_new_row_reshuffles() -> None:
    rows = many(400)
    before = lines(split(rows, Split()))
    assert lines(split(rows[::-1], Split())) == before
    after = lines(split([*rows, example("a new text", "label 0", 999)], Split()))
    assert len(before[2] ^ (after[2] - {999})) <= 4
    assert lines(split(rows, Split(seed=1)))[2] != before[2]


def test_rows_keep_the_order_of_the_file() -> None:
    parts = split(many(100), Split())
    for part in (parts.train, parts.validation, parts.eval):
        assert [item.line for item in part] == sorted(item.line for item in part)


@pytest.mark.parametrize("count", [3, 4, 5, 10])
def test_small_sets_fill_every_part(count: int) -> None:
    for labels in (1, 2, count):
        parts = split(many(count, labels), Split())
        assert parts.train
        assert parts.validation
        assert parts.eval


def test_too_few_texts() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        split(many(2), Split())
    parts = split(many(2), Split(validation=0))
    assert (len(parts.train), len(parts.eval)) == (1, 1)


def test_unlabelled_rows() -> None:
    rows = [Example(n, (), f"free text {n}", chat=False) for n in range(100)]
    parts = split(rows, Split(eval=0.2, validation=0.25))
    assert (len(parts.eval), len(parts.validation), len(parts.train)) == (20, 20, 60)


@pytest.mark.parametrize("labels", [1, 4, 40])
def test_a_count_is_held_out_exactly(labels: int) -> None:
    parts = split(many(40, labels), Split(eval_count=7, validation=0))
    assert (len(parts.eval), len(parts.train)) == (7, 33)
    with pytest.raises(ValueError, match="at least 42 are needed"):
        split(many(40), Split(eval_count=40))


def test_nothing_or_all_is_held_out() -> None:
    parts = split(many(10), Split(eval=0, validation=0.2))
    assert (len(parts.train), len(parts.validation), len(parts.eval)) == (8, 2, 0)
    assert parts.held_out_or_train == parts.train
    assert len(split(many(1), Split(eval=0, validation=0)).train) == 1
    parts = split(many(10), Split(eval=1))
    assert (len(parts.train), len(parts.validation), len(parts.eval)) == (0, 0, 10)


def test_the_held_out_part_validates() -> None:
    parts = split(many(10), Split(eval=0.2, validation="eval"))
    assert parts.validation == parts.eval
    assert (len(parts.train), len(parts.eval)) == (8, 2)
    assert len(split(many(2), Split(validation="eval")).train) == 1
