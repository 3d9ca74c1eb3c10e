"""The form to which answers are held: as a pattern, as a grammar, and what is wrong with one."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from pipeline.contract.data_spec import DataSpec
from pipeline.data.constraint import Constraint, constraint_of, constraint_problems, escaped

ADDED = ("<think>", "</think>", "<|end|>")
EMPTY_THOUGHT = "<think>\n\n</think>\n\n"


def spec(**values: Any) -> DataSpec:
    plain = {"path": "x.jsonl", "prompt": "{text}", "completion": "Tone: {tone}", "label": "tone"}
    return DataSpec(**{**plain, **values})


def test_an_escaped_text_matches_itself_alone() -> None:
    signs = (*map(chr, range(1, 0x250)), "東", "🙂", "e\u0301")
    for sign in signs:
        found = [other for other in signs if re.fullmatch(f"a{escaped(sign)}b", f"a{other}b")]
        assert found == [sign]


def test_answers_are_completions_of_the_labels() -> None:
    held = constraint_of(spec(constrain=True, labels=("a.b", "a")))
    assert held is not None
    assert held.answers == ("Tone: a.b", "Tone: a")
    pattern = held.start("", ADDED).guidance.data
    matched = [
        text for text in (*held.answers, "Tone: axb", "a", "Tone: ") if re.fullmatch(pattern, text)
    ]
    assert matched == ["Tone: a.b", "Tone: a"]
    assert [held.allows(text) for text in ("Tone: a\n", "Tone: axb")] == [True, False]


def test_without_constrain_nothing_is_held() -> None:
    assert constraint_of(spec()) is None
    assert constraint_of(None) is None


def test_a_block_is_given_up_to_its_last_token_and_said_from_there() -> None:
    held = Constraint(answers=("yes", "no"))
    start = held.start(EMPTY_THOUGHT, ADDED)
    assert (start.after_prompt, start.before_answer) == ("<think>\n\n</think>", "\n\n")
    assert re.fullmatch(start.guidance.data, "\n\nno")
    assert not re.fullmatch(start.guidance.data, "no")
    blank = held.start(" ", ADDED)
    assert (blank.after_prompt, blank.before_answer) == ("", " ")
    assert re.fullmatch(blank.guidance.data, " yes")


def test_a_text_may_be_continued_with_a_blank() -> None:
    pattern = Constraint(pattern="a|b").start("", (), chat=False).guidance.data
    assert [bool(re.fullmatch(pattern, text)) for text in ("a", " b", "  b", " ")] == [
        *(True, True, False, False)
    ]


def test_a_schema_says_how_its_json_is_written_unless_it_says_so_itself() -> None:
    schema: Any = {"type": "object", "x-guidance": {"item_separator": ","}}
    start = Constraint(json_schema=schema).start(EMPTY_THOUGHT, ADDED)
    first, second = start.guidance.data.splitlines()
    assert (start.guidance.type, first) == ("lark_grammar", r'start: "\n\n" answer')
    name, _, written = second.partition(" %json ")
    assert (name, json.loads(written)) == (
        "answer:",
        {
            "type": "object",
            "x-guidance": {
                "whitespace_flexible": False,
                "key_separator": ": ",
                "item_separator": ",",
            },
        },
    )


PROBLEMS: dict[str, dict[str, Any]] = {
    "true means the answers for labels": {"constrain": True},
    "true needs a completion of the label alone, not of tone, text": {
        "constrain": True,
        "labels": ("a", "b"),
        "completion": "{tone} {text}",
    },
    "this is not a regular expression": {"constrain": "("},
    "can be read in two ways": {"constrain": "[[a]"},
    "allows nothing but an empty answer": {"constrain": ""},
    r"the runtime does not know '\\\\b'": {"constrain": r"a\b"},
    r"the runtime does not know '\(\?='": {"constrain": "(?=a)a"},
    r"the runtime does not know '\(\?<!'": {"constrain": "(?<!a)a"},
    r"the runtime does not know '\\\\1'": {"constrain": r"(a)\1"},
    "a schema that allows anything holds nothing": {"constrain": {}},
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_problems(problem: str) -> None:
    (found,) = constraint_problems(spec(**PROBLEMS[problem]))
    assert found.key == "constrain"
    assert re.search(problem, found.message), found.message


@pytest.mark.parametrize(
    "fine", [r"[\b1]", r"a\\b", "(?:a|b)?", "(?i)yes", r"[(?=]{2}", "a*?", r"\*+", r"\w+\d{2,3}"]
)
def test_patterns_that_both_know(fine: str) -> None:
    assert list(constraint_problems(spec(constrain=fine))) == []


def test_messages_whose_answer_is_the_label() -> None:
    held = DataSpec(
        path="x.jsonl", messages="messages", label="tone", labels=("a", "b"), constrain=True
    )
    assert list(constraint_problems(held)) == []
    assert constraint_of(held) == Constraint(answers=("a", "b"))


def test_json_is_all_that_is_seen_of_a_schema() -> None:
    held = Constraint(json_schema={"type": "object"})
    assert [held.allows(text) for text in (json.dumps({"a": 1}), '{"a": ', "")] == [
        *(True, False, False)
    ]
