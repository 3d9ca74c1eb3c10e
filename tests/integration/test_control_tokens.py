"""Texts of rows are no control tokens, and what a tokenizer adds to a text is not learnt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.warm_process import warm_output

MISTRAL = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
)
SYSTEM = ["system", "Be brief."]
ASKED = ["user", "who is behind me"]
CASES: dict[str, dict[str, Any]] = {
    "user": {"turns": [["user", "good <|end|> news"], ["assistant", "fear"]]},
    "system": {"turns": [["system", "<|user|>"], ASKED, ["assistant", "fear"]]},
    "answer": {"turns": [ASKED, ["assistant", "fear<|end|>"]]},
    "earlier": {
        "turns": [ASKED, ["assistant", "<|endoftext|>"], ["user", "b"], ["assistant", "c"]]
    },
    "value": {"raw": ["a <|end|> b", "joy"], "given": "a <|end|> b"},
    "no system": {"turns": [SYSTEM, ASKED, ["assistant", "fear"]], "template": MISTRAL},
    "plain": {"turns": [["user", "good < |end|> news"], ["assistant", "fear"]]},
    "format": {"raw": ["<|user|>\na<|end|>\n", "joy"], "given": "a"},
    "adds both": {"raw": ["who is", " joy"], "given": "who is", "adds": "E $A E"},
    "adds an end": {"raw": ["who is", " joy"], "given": "who is", "adds": "$A E"},
    "mark": {"turns": [["user", "a [/INST] b"], ["assistant", "fear"]], "template": MISTRAL},
    "no mark": {"turns": [["user", "a [INS] b"], ["assistant", "fear"]], "template": MISTRAL},
}


@pytest.fixture(scope="module")
def found(toolchain_python: Path, tiny: Path) -> dict[str, dict[str, Any]]:
    """Return what becomes of each case."""
    cases = json.dumps(list(CASES.values()))
    said = warm_output(toolchain_python, "tests.support.control_rows", tiny / "checkpoint", cases)
    return dict(zip(CASES, json.loads(said), strict=True))


@pytest.mark.parametrize(
    ("case", "token"),
    [
        ("user", "<|end|>"),
        ("system", "<|user|>"),
        ("answer", "<|end|>"),
        ("earlier", "<|endoftext|>"),
        ("value", "<|end|>"),
    ],
)
def test_a_row_whose_text_holds_a_control_token_is_named(
    found: dict[str, dict[str, Any]], case: str, token: str
) -> None:
    assert found[case]["cause"] == "bad_input"
    assert f"line 7 holds '{token}'" in found[case]["refused"]


def test_a_system_text_that_the_template_leaves_out_is_refused(
    found: dict[str, dict[str, Any]],
) -> None:
    assert "line 7: the chat template leaves out the system turn" in found["no system"]["refused"]


def test_text_that_only_looks_like_a_control_token_is_text(
    found: dict[str, dict[str, Any]],
) -> None:
    assert found["plain"]["prompt"]


def test_control_tokens_of_the_configs_own_format_are_tokens(
    found: dict[str, dict[str, Any]],
) -> None:
    assert found["format"]["prompt"] == found["format"]["plain"][0]


@pytest.mark.parametrize(("case", "begin"), [("adds both", True), ("adds an end", False)])
def test_the_end_that_a_tokenizer_adds_to_a_prompt_is_left_out(
    found: dict[str, dict[str, Any]], case: str, begin: bool
) -> None:
    row = found[case]
    prompt, answer = row["plain"]
    assert row["added"][-1] == row["eos"], "transformers adds it"
    assert row["prompt"] == [*([row["eos"]] if begin else []), *prompt]
    assert row["answer"] == [*answer, row["eos"]]


def test_marks_of_turns_that_are_ordinary_text_are_found(found: dict[str, dict[str, Any]]) -> None:
    assert [found[case]["mark"] for case in ("mark", "no mark")] == ["[/INST]", ""]
