"""Rows that do not fit are named before anything is trained."""

from __future__ import annotations

import pytest

from pipeline.contract.errors import StepError
from pipeline.data.chat import Message
from pipeline.data.examples import Example
from pipeline.data.room import require_room
from pipeline.data.tokenize import Codec, require_usable, tokenize
from tests.support.toy_tokenizer import EOS, TURN, ToyTokenizer


def raw(line: int, prompt: str, answer: str) -> Example:
    return Example(line, (Message("user", prompt),), answer, chat=False, given=(prompt, answer))


def chat(line: int, prompt: str) -> Example:
    return Example(line, (Message("user", prompt),), "12")


def marked() -> Codec:
    tokenizer = ToyTokenizer("80")
    tokenizer.added_tokens_decoder = {TURN: str(TURN)}
    tokenizer.all_special_ids.append(TURN)
    return Codec(tokenizer)


def test_held_out_rows_longer_than_the_context_are_named() -> None:
    # Begin, prompt, answer and end: one, four and one, and one.
    rows = [raw(1, "10 11 12 13", "20"), raw(4, "10 11", "20"), raw(9, "10 11 12", "20 21")]
    codec = Codec(ToyTokenizer())
    assert require_room(rows, codec, 7) == (7, 5, 7)
    assert require_room(rows, codec, None) == (7, 5, 7)
    with pytest.raises(StepError) as error:
        require_room(rows, codec, 6)
    assert error.value.cause == "bad_input"
    assert str(error.value) == (
        "2 of 3 held-out rows are longer than the model's context of 6 tokens: "
        "line 1 (7 tokens), line 9 (7 tokens)"
    )


def test_rows_that_are_left_out_and_answers_that_are_too_long_are_named() -> None:
    rows = [raw(1, "10 11 12 13", "20"), raw(2, "10", "20"), raw(3, "10", "20 21 22 23 24")]
    for too_long, left_out in (("drop", ("line 1", "line 3")), ("cut", ("line 3",))):
        found = tokenize(rows, Codec(ToyTokenizer()), 5, too_long)  # type: ignore[arg-type]
        assert found.too_long == left_out
        assert found.long_answers == ("line 3",)
        assert found.lengths == (7, 4, 8)
        assert found.left_out == len(left_out)


def test_all_rows_with_a_control_token_are_named_at_once() -> None:
    codec = marked()
    rows = [chat(1, "10 3 11"), chat(2, "13 30"), *(chat(line, "3") for line in range(3, 14))]
    with pytest.raises(StepError) as error:
        require_usable(rows, codec)
    said = str(error.value)
    assert said.startswith("line 1 holds '3', line 3 holds '3', ")
    assert "line 9 holds '3' and 4 more: for this model no text" in said
    require_usable(rows[1:2], codec)
    with pytest.raises(StepError, match="line 1 holds '3'"):
        codec.prompt_ids(rows[0])


def test_what_ends_a_text_by_itself_does_not_end_a_prompt() -> None:
    class Ending(ToyTokenizer):
        def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
            ids = super().encode(text, add_special_tokens=add_special_tokens)
            return [*ids, EOS] if add_special_tokens else ids

    codec = Codec(Ending())
    assert codec.prompt_ids(raw(1, "10 11", "20")) == [1, 10, 11]
    assert codec.completion_ids("20", raw(1, "10 11", "20")) == [20, EOS]


def test_added_tokens_of_the_frame_are_control_though_they_are_not_special() -> None:
    # As DeepSeek's marks of users are: added, and not special. 80 stands before each turn.
    tokenizer = ToyTokenizer("80")
    tokenizer.added_tokens_decoder = {TURN: str(TURN), 80: "80", 90: "90"}
    codec = Codec(tokenizer)
    require_usable([chat(1, "10 90")], codec)
    with pytest.raises(StepError, match="line 2 holds '80', line 3 holds '3'"):
        require_usable([chat(1, "10"), chat(2, "10 80"), chat(3, "3")], codec)
    answer = Example(4, (Message("user", "10"),), "90 80")
    require_usable([answer], codec)  # 80 begins a turn, and does not end one
    with pytest.raises(StepError, match="line 4 holds '3'"):
        require_usable([Example(4, (Message("user", "10"),), "20 3")], codec)
