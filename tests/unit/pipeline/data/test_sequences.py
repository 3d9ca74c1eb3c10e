"""Training sequences, token by token, for every strategy."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from pipeline.contract.data_spec import DataSpec, Sequences
from pipeline.data.examples import Example, make_examples
from pipeline.data.row_store import Row
from pipeline.data.sequences import make_sequences
from pipeline.data.tokenize import Codec, Tokenized, tokenize
from pipeline.data.tokens import IGNORED
from tests.support.toy_tokenizer import BOS, EOS, TURN, ToyTokenizer

ROWS = ("10 11 12", "20 21", "30 31 32 33", "40")
"""With beginning and end: 5, 4, 6 and 3 tokens."""

X = IGNORED


def texts(*rows: str) -> list[Example]:
    spec = DataSpec(path="x", template="{text}")
    return make_examples([Row(at, {"text": row}) for at, row in enumerate(rows, 1)], spec)


def pairs(*rows: tuple[str, str], **settings: Any) -> list[Example]:
    spec = DataSpec(path="x", template="{q} {a}", completion="{a}", **settings)
    return make_examples([Row(1, {"q": question, "a": answer}) for question, answer in rows], spec)


def made(examples: list[Example], **settings: Any) -> Tokenized:
    spec = Sequences.model_validate({"length": 8, **settings})
    return make_sequences(examples, Codec(ToyTokenizer()), spec)


def ids(found: Tokenized) -> list[list[int]]:
    return [list(row.ids) for row in found.rows]


def labels(found: Tokenized) -> list[list[int]]:
    return [list(row.labels) for row in found.rows]


def test_line_by_line() -> None:
    found = made(texts(*ROWS, "50 51 52 53 54 55 56 57"))
    assert ids(found) == [
        [BOS, 10, 11, 12, EOS],
        [BOS, 20, 21, EOS],
        [BOS, 30, 31, 32, 33, EOS],
        [BOS, 40, EOS],
        [BOS, 50, 51, 52, 53, 54, 55, 56],
    ]
    assert labels(found) == ids(found)
    assert (found.used, found.shortened, found.left_out) == (5, 1, 0)


def test_no_special_tokens_and_only_so_many() -> None:
    found = made(texts(*ROWS), special_tokens=False, count=2)
    assert ids(found) == [[10, 11, 12], [20, 21]]


def test_short_rows_are_dropped() -> None:
    found = made(texts("1 2 3 4 5 6 7", "50 51 52 53 54 55"), drop_short=True, special_tokens=False)
    assert ids(found) == []
    assert found.left_out == 2
    assert ids(made(texts(*ROWS, "50 51 52 53 54 55"), drop_short=True)) == [
        [BOS, 50, 51, 52, 53, 54, 55, EOS]
    ]


def test_prompts_carry_no_loss_and_both_ends_are_cut() -> None:
    examples = pairs(("10 11 12", "20 21 22"))
    assert (ids(made(examples)), labels(made(examples))) == (
        [[BOS, 10, 11, 12, 20, 21, 22, EOS]],
        [[X, X, X, X, 20, 21, 22, EOS]],
    )
    cut = made(examples, prompt_length=2, completion_length=3)
    assert (ids(cut), labels(cut)) == ([[BOS, 10, 20, 21, 22]], [[X, X, 20, 21, 22]])
    assert cut.shortened == 1
    whole = made(pairs(("10", "20"), loss_on="all"))
    assert labels(whole) == [[BOS, 10, 20, EOS]]


def test_a_row_whose_answer_does_not_fit_is_left_out() -> None:
    found = made(pairs(("1 2 3 4 5 6 7 8", "9"), ("10", "11")))
    assert ids(found) == [[BOS, 10, 11, EOS]]
    assert found.left_out == 1


def test_join() -> None:
    found = made(texts(*ROWS), strategy="join")
    assert ids(found) == [
        [BOS, 10, 11, 12, EOS, BOS, 20, 21],
        [EOS, BOS, 30, 31, 32, 33, EOS, BOS],
    ]
    assert labels(found) == ids(found)
    assert (found.used, found.left_out) == (4, 0)
    assert made(texts(*ROWS), strategy="join", count=1).used == 2


def test_join_with_a_joiner_between_rows() -> None:
    found = made(
        texts("10 11 12 13", "20 21 22"), strategy="join", joiner="7", special_tokens=False
    )
    assert ids(found) == [[10, 11, 12, 13, 7, 20, 21, 22]]


def test_a_sliding_window_learns_each_token_once() -> None:
    found = made(texts(*ROWS), strategy="join-sliding-window", stride=3)
    whole = [BOS, 10, 11, 12, EOS, BOS, 20, 21, EOS, BOS, 30, 31, 32, 33, EOS, BOS, 40, EOS]
    assert ids(found) == [whole[begin : begin + 8] for begin in (0, 3, 6, 9)]
    assert labels(found) == [
        whole[0:8],
        [X] * 5 + whole[8:11],
        [X] * 5 + whole[11:14],
        [X] * 5 + whole[14:17],
    ]


@pytest.mark.parametrize("strategy", ["join", "join-sliding-window", "join-random"])
def test_rows_that_fill_no_piece_make_one_shorter_sequence(strategy: str) -> None:
    settings: dict[str, Any] = {"join-sliding-window": {"stride": 4}, "join-random": {"count": 3}}
    found = made(texts("10", "20"), strategy=strategy, **settings.get(strategy, {}))
    assert ids(found) == [[BOS, 10, EOS, BOS, 20, EOS]]


def test_random_rows_are_those_of_pythons_generator() -> None:
    random = Random(7)  # noqa: S311
    drawn = [random.randint(0, 3) for _ in range(6)]
    found = made(texts(*ROWS), strategy="line-by-line-random", count=6, seed=7)
    assert ids(found) == [[BOS, *map(int, ROWS[at].split()), EOS] for at in drawn]
    assert found.used == len(set(drawn))


def test_random_draws_of_short_rows_are_repeated_and_given_up() -> None:
    examples = texts("10 11 12 13 14 15", "20")
    settings = {"strategy": "line-by-line-random", "count": 20, "drop_short": True}
    long = [BOS, 10, 11, 12, 13, 14, 15, EOS]
    assert ids(made(examples, **settings, retries=50)) == [long] * 20
    once = ids(made(examples, **settings, retries=1))
    random = Random(0)  # noqa: S311
    assert once == [long for _ in range(20) if random.randint(0, 1) == 0]


def test_join_random_begins_at_rows_and_is_full() -> None:
    random = Random(3)  # noqa: S311
    found = made(texts(*ROWS), strategy="join-random", count=4, seed=3)
    rows = [[BOS, *map(int, row.split()), EOS] for row in ROWS]
    wanted: list[list[int]] = []
    while len(wanted) < 4:
        begin = random.randint(0, 3)
        joined = [token for row in rows[begin:] for token in row]
        if len(joined) >= 8:
            wanted.append(joined[:8])
    assert ids(found) == wanted


def test_a_chat_brings_its_own_special_tokens() -> None:
    spec = DataSpec(path="x", prompt="{q}", completion="{a}", chat_template="90", loss_on="all")
    examples = make_examples([Row(1, {"q": "10", "a": "20"})], spec)
    found = make_sequences(examples, Codec(ToyTokenizer("80")), Sequences(length=8))
    assert ids(found) == [[90, 10, TURN, 90, 20, TURN]]


def test_single_rows_of_text_and_of_tokens() -> None:
    spec = DataSpec(path="x", tokens=True)
    values: list[dict[str, Any]] = [
        {"input_ids": [5, 6, 7, 8], "labels": [X, X, 7, 8]},
        {"input_ids": [5, 6, 7, 0], "attention_mask": [1, 1, 1, 0]},
    ]
    examples = make_examples([Row(at, row) for at, row in enumerate(values, 1)], spec)
    found = tokenize(examples, Codec(ToyTokenizer()), 8)
    assert ids(found) == [[5, 6, 7, 8], [5, 6, 7]]
    assert labels(found) == [[X, X, 7, 8], [5, 6, 7]]
    cut = tokenize(examples, Codec(ToyTokenizer()), 3, "cut")
    assert labels(cut) == [[X, 7, 8], [5, 6, 7]]
    codec = Codec(ToyTokenizer())
    assert [codec.prompt_ids(item) for item in examples] == [[5, 6], [5]]
    assert [codec.completion_ids("", item) for item in examples] == [[7, 8], [6, 7]]
    assert len({item.text for item in examples}) == 2


def test_loss_on_the_whole_row() -> None:
    rows = [
        Row(1, {"m": [{"role": "user", "content": "10"}, {"role": "assistant", "content": "20"}]})
    ]
    for loss_on, wanted in (("completion", [X, X, X, X, 20, TURN]), ("all", None)):
        spec = DataSpec.model_validate({"path": "x", "messages": "m", "loss_on": loss_on})
        found = tokenize(make_examples(rows, spec), Codec(ToyTokenizer("80")), 99)
        assert labels(found) == [wanted or [80, 10, TURN, 80, 20, TURN]]
