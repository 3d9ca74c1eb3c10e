"""Data that does not fit its settings is found, with line and suggestion."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue, ValidationError

from pipeline.contract.data_files import DataFiles
from pipeline.contract.data_spec import DataSpec, Split
from pipeline.contract.errors import StepError
from pipeline.data.check import check_rows, examples_of
from pipeline.data.examples import make_examples
from pipeline.data.parts import load_parts
from pipeline.data.row_store import Row
from pipeline.data.template import Template, TemplateError


def rows_of(*values: dict[str, JsonValue]) -> list[Row]:
    return [Row(number, value) for number, value in enumerate(values, start=1)]


def good_rows(count: int = 12) -> list[Row]:
    tones = ("joy", "fear")
    return [
        Row(number, {"phrase": f"phrase {number}", "tone": tones[number % 2]})
        for number in range(1, count + 1)
    ]


def tone_spec(**changes: Any) -> DataSpec:
    settings = {"path": "x", "prompt": "{phrase}", "completion": "{tone}", "label": "tone"}
    return DataSpec.model_validate({**settings, **changes})


def only(rows: Sequence[Row], spec: DataSpec) -> tuple[int | None, str, str]:
    problems = check_rows(rows, spec)
    assert len(problems) == 1, problems
    return problems[0].line, problems[0].message, problems[0].suggestion


def test_good_rows_have_no_problems() -> None:
    assert check_rows(good_rows(), tone_spec()) == []


def test_no_rows() -> None:
    assert only([], tone_spec())[1] == "the data set is empty"


def test_a_field_no_row_has() -> None:
    problems = check_rows(good_rows(), tone_spec(prompt="{phrse}", label="tones"))
    assert [(item.key, item.line) for item in problems] == [("prompt", None), ("label", None)]
    assert "'phrse'" in problems[0].message
    assert problems[0].suggestion == "did you mean 'phrase'?"
    assert problems[1].suggestion == "did you mean 'tone'?"


def test_a_column_one_row_lacks() -> None:
    rows = [*good_rows(), Row(20, {"Phrase": "x", "tone": "joy"})]
    line, message, suggestion = only(rows, tone_spec())
    assert line == 20
    assert "'phrase'" in message
    assert suggestion == "did you mean 'Phrase'?"


@pytest.mark.parametrize(
    ("value", "said"), [("", "empty"), ("  ", "empty"), (None, "empty"), ([1], "an array")]
)
def test_a_column_without_text(value: JsonValue, said: str) -> None:
    line, message, _ = only([*good_rows(), Row(20, {"phrase": value, "tone": "joy"})], tone_spec())
    assert line == 20
    assert said in message


def test_a_label_that_is_not_in_the_set() -> None:
    rows = [*good_rows(), Row(20, {"phrase": "x", "tone": "Joy"})]
    line, message, suggestion = only(rows, tone_spec(labels=["joy", "fear"]))
    assert (line, suggestion) == (20, "did you mean 'joy'?")
    assert "'Joy'" in message


def test_a_prompt_that_holds_the_answer() -> None:
    _, message, _ = only(good_rows(), tone_spec(prompt="{phrase} {tone}"))
    assert "shows the model the answer" in message


def test_a_prompt_without_a_column() -> None:
    assert "uses no column" in only(good_rows(), tone_spec(prompt="hello"))[1]


def test_too_few_texts() -> None:
    rows = [Row(number, {"phrase": "Same  text", "tone": "joy"}) for number in range(9)]
    assert "1 distinct texts are too few" in only(rows, tone_spec())[1]
    assert check_rows(good_rows(2), tone_spec(split=Split(validation=0))) == []
    assert "at least 3" in only(good_rows(2), tone_spec())[1]


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ("text", "messages are text, but no JSON"),
        ([{"role": "user", "content": "a"}], "must be a list"),
        ([{"role": "user"}, {"role": "assistant", "content": "b"}], "turn 1"),
        ([{"role": "boss", "content": "a"}, {"role": "assistant", "content": "b"}], "'boss'"),
        ([{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}], "last turn"),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": " "}], "no text"),
        ([{"role": "user", "name": "n"}, {"role": "assistant", "content": "b"}], "turn 1 has no"),
        (
            [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": []}],
            "turn 2 has no text",
        ),
        (
            [
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}]},
                {"role": "assistant", "content": "b"},
            ],
            "turn 1 has its content in parts; only text is read",
        ),
        (
            [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}],
            "no turn is learnt: give one of the assistant's the weight 1",
        ),
        (
            [{"role": "user", "content": "a", "weight": 1}, {"role": "assistant", "content": "b"}],
            "turn 1 has weight 1, but only turns of the assistant are learnt",
        ),
        (
            [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 2}],
            "turn 2 has weight 2; it can be 0 or 1",
        ),
        (
            [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b", "weight": 1, "train": False},
            ],
            "turn 2 has weight and train, which contradict each other",
        ),
        (
            [
                {"role": "assistant", "content": "a", "weight": 1},
                {"role": "user", "content": "b"},
            ],
            "turn 1 is learnt, but nothing stands before it",
        ),
    ],
)
def test_broken_messages(messages: JsonValue, said: str) -> None:
    good: list[JsonValue] = [
        [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "a"}]
        for n in range(6)
    ]
    rows = rows_of(*({"chat": item} for item in [*good, messages]))
    line, message, _ = only(rows, DataSpec(path="x", messages="chat"))
    assert line == 7
    assert said in message


def test_weights_say_which_turns_are_learnt() -> None:
    chat: JsonValue = [
        {"role": "user", "content": "a", "name": None},
        {"role": "assistant", "content": "b", "weight": 1},
        {"role": "user", "content": "c", "train": False},
        {"role": "assistant", "content": "d", "weight": 1, "train": True, "tool_calls": []},
        {"role": "user", "content": "e"},
        {"role": "assistant", "content": "f", "weight": 0},
    ]
    (example,) = make_examples(rows_of({"chat": chat}), DataSpec(path="x", messages="chat"))
    assert [turn.learnt for turn in example.prompt] == [False, True, False]
    assert example.completion == "d"
    # What is null is as if it were not there; what is empty is given to the template.
    assert (example.prompt[0].others, example.answer_others) == ({}, {"tool_calls": []})


TOOLS: list[JsonValue] = [{"type": "function", "function": {"name": "f"}}]


@pytest.mark.parametrize("column", [TOOLS, json.dumps(TOOLS)])
def test_tools_beside_messages_are_kept(column: JsonValue) -> None:
    chat: JsonValue = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    spec = DataSpec(path="x", messages="chat", split=Split(eval=0, validation=0))
    rows = rows_of({"chat": chat, "tools": column}, {"chat": chat, "tools": []}, {"chat": chat})
    assert check_rows(rows, spec) == []
    assert [list(example.tools) for example in make_examples(rows, spec)] == [TOOLS, [], []]


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        ({"documents": [{"text": "a"}]}, "the column 'documents' would not be shown to the model"),
        ({"parallel_tool_calls": True}, "the column 'parallel_tool_calls' would not be shown"),
        ({"tools": ["clock"]}, "a tool is text, but no JSON"),
        ({"tools": [7]}, "the column 'tools' must be a list of objects"),
        ({"tools": "[{]"}, "the column 'tools' is text, but no JSON"),
    ],
)
def test_what_stands_beside_messages_is_not_dropped(
    beside: dict[str, JsonValue], said: str
) -> None:
    chat: JsonValue = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    spec = DataSpec(path="x", messages="chat", split=Split(eval=0, validation=0))
    line, message, _ = only(rows_of({"chat": chat, **beside}, {"chat": chat}), spec)
    assert line == 1
    assert said in message


def test_a_column_that_is_empty_everywhere_is_one_problem() -> None:
    rows = [replace(row, values={**row.values, "hint": " "}) for row in good_rows()]
    (problem,) = check_rows(rows, tone_spec(prompt="{phrase} {hint}"))
    assert (problem.key, problem.message) == ("prompt", "the column 'hint' is empty in every row")


@pytest.mark.parametrize("mark", ["<image>", "<|image_1|>", "<|image_pad|>", "[IMG]"])
def test_a_picture_that_the_model_would_not_see(mark: str) -> None:
    (problem,) = check_rows(good_rows(), tone_spec(prompt=f"{mark}\n{{phrase}}"))
    assert (problem.key, mark in problem.message) == ("prompt", True)
    assert check_rows(good_rows(), tone_spec(prompt="<img>{phrase}")) == []


def test_messages_become_examples() -> None:
    chat: JsonValue = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "joy"},
    ]
    spec = DataSpec(path="x", messages="chat", label="tone", labels=("joy", "fear"))
    (example,) = make_examples(rows_of({"chat": chat, "tone": "joy"}), spec)
    assert [turn.role for turn in example.prompt] == ["system", "user"]
    assert example.completion == "joy"
    assert example.choices == {"joy": "joy", "fear": "fear"}


def test_choices_are_the_completion_of_every_label() -> None:
    spec = tone_spec(completion="It is {tone}.", system="Be brief.")
    example = make_examples(good_rows(), spec)[0]
    assert [turn.content for turn in example.prompt] == ["Be brief.", "phrase 1"]
    assert example.completion == "It is fear."
    assert example.choices == {"fear": "It is fear.", "joy": "It is joy."}


def test_an_answer_without_the_label_has_no_choices() -> None:
    spec = tone_spec(prompt="{tone}", completion="{phrase}")
    assert make_examples(good_rows(), spec)[0].choices == {}


def test_raw_templates() -> None:
    rows = good_rows()
    spec = DataSpec(path="x", template="Text: {phrase}\nTone: {tone}", completion="{tone}")
    example = make_examples(rows, spec)[0]
    assert (example.text, example.completion) == ("Text: phrase 1\nTone: ", "fear")
    assert not example.chat
    whole = make_examples(rows, DataSpec(path="x", template="{phrase}: {tone}"))[0]
    assert (whole.prompt, whole.completion, whole.text) == ((), "phrase 1: fear", "phrase 1: fear")


@pytest.mark.parametrize(
    "settings",
    [
        {"prompt": "{a}"},
        {"prompt": "{a}", "completion": "{b}", "template": "{a}"},
        {},
        {"template": "{a} {b}", "completion": "{a}"},
        {"messages": "a", "completion": "{a}"},
        {"messages": "a", "system": "s"},
        {"prompt": "{a}", "completion": "{b}", "labels": ["x", "y"]},
        {"prompt": "{a}", "completion": "{b}", "label": "b", "labels": ["x", "x"]},
    ],
)
def test_settings_that_contradict(settings: dict[str, JsonValue]) -> None:
    with pytest.raises(ValidationError):
        DataSpec.model_validate({"path": "x", **settings})


def test_template_fields_and_braces() -> None:
    template = Template("{{x}} {a}{b} {a}")
    assert template.fields == ("a", "b")
    assert template.render({"a": "{b}", "b": "2"}) == "{x} {b}2 {b}"


@pytest.mark.parametrize("text", ["{", "}", "{}", "{a.b}", "{a[0]}", "{a!r}", "{a:>3}", "{ a }"])
def test_what_is_no_template(text: str) -> None:
    with pytest.raises(TemplateError):
        Template(text)
    problems = check_rows(good_rows(), tone_spec(prompt=text))
    assert [problem.key for problem in problems] == ["prompt"]


def test_load_parts_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"phrase": "a", "tone": "joy"}\n{\n')
    with pytest.raises(StepError, match=r"data set tone: a\.jsonl:2: broken JSON"):
        load_parts(DataFiles("tone", tone_spec(), (path,)))


def test_max_samples_keeps_order_and_choice() -> None:
    rows = good_rows(50)
    few = [item.line for item in examples_of(rows, tone_spec(max_samples=10))]
    more = [item.line for item in examples_of(rows, tone_spec(max_samples=20))]
    assert len(few) == 10
    assert few == sorted(few)
    assert set(few) < set(more)


def test_two_thousand_rows_are_checked_quickly() -> None:
    rows = good_rows(2000)
    best = min(_seconds(rows) for _ in range(3))
    assert best < 1.0  # 0.05 s on an idle machine


def _seconds(rows: Sequence[Row]) -> float:
    began = time.perf_counter()
    assert check_rows(rows, tone_spec()) == []
    return time.perf_counter() - began
