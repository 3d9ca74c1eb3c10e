"""Plain text to pretrain on: its paragraphs, and what must not stand in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.contract.errors import StepError
from pipeline.training.corpus import read_paragraphs


def test_paragraphs_are_parted_by_blank_lines(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("three\n")
    (tmp_path / "a.txt").write_text("one\nand more\n\n \n\ntwo <|begin|>\n")
    assert read_paragraphs(tmp_path) == ["one and more", "two <|begin|>", "three"]


@pytest.mark.parametrize("token", ["<|end|>", "<|endoftext|>", "<|user|>"])
def test_a_control_token_in_a_text_is_named(tmp_path: Path, token: str) -> None:
    file = tmp_path / "a.txt"
    file.write_text(f"one\n\ntwo {token} three\n")
    with pytest.raises(StepError, match="paragraph 2 holds") as error:
        read_paragraphs(file)
    assert (token in str(error.value), error.value.cause) == (True, "bad_input")
