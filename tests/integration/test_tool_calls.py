"""Calls of tools, thoughts, names and weights are learnt as transformers renders them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import plans, tool_templates

QUESTION = {"role": "user", "content": "what is the weather in Oslo"}
ASKED = {"city": "Oslo", "days": 2}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Says what the weather will be.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city"],
            },
        },
    }
]


def call(arguments: Any = ASKED, name: str = "weather") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": "abcdefghi", "type": "function", "function": function}


def said(content: str | None, **others: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **others}


CALLS = said(None, tool_calls=[call()])
RESULT = {"role": "tool", "content": "rain", "tool_call_id": "abcdefghi"}
THINKS = said("It rains.", reasoning_content="The tool says rain.")
NAMED = {**QUESTION, "name": "Ada"}
AGAIN = {"role": "user", "content": "and in Rome"}
TEXT_CALL = said(None, tool_calls=[call('{"city": "Oslo"}')])

LEARNT: dict[str, tuple[str, list[dict[str, Any]], list[str]]] = {
    "a call": ("QWEN3", [QUESTION, CALLS], []),
    "a call without content": (
        "QWEN3",
        [QUESTION, {key: CALLS[key] for key in ("role", "tool_calls")}],
        [],
    ),
    "two calls after a text": (
        "QWEN3",
        [QUESTION, said("I ask.", tool_calls=[call(), call({"city": "Rome"}, "forecast")])],
        [],
    ),
    "arguments as text": ("QWEN3", [QUESTION, TEXT_CALL], []),
    "thoughts": ("QWEN3", [QUESTION, THINKS], []),
    "thoughts before a call": ("QWEN3", [QUESTION, {**THINKS, **CALLS, "content": ""}], []),
    "an answer after a result": ("QWEN3", [QUESTION, CALLS, RESULT, THINKS], []),
    "thoughts of earlier turns": (
        "QWEN3",
        [QUESTION, THINKS, AGAIN, said("Sun.")],
        ["turn 2's reasoning_content"],
    ),
    "a call of Llama's": ("LLAMA3", [QUESTION, CALLS], []),
    "an answer of Llama's": ("LLAMA3", [QUESTION, CALLS, RESULT, said("It rains.")], []),
    "a call of Mistral's": ("MISTRAL", [QUESTION, CALLS], []),
    "an answer of Mistral's": ("MISTRAL", [QUESTION, CALLS, RESULT, said("It rains.")], []),
    "a name": ("NAMED", [NAMED, said("Rain.")], []),
}
NO_TOOLS: dict[str, tuple[str, list[dict[str, Any]], list[str]]] = {
    "a call of DeepSeek's": ("DEEPSEEK", [QUESTION, TEXT_CALL], [])
}
WEIGHED = {
    "all": [QUESTION, said("Rain.", weight=1), AGAIN, said("Sun.", weight=1)],
    "the last, as ever": [QUESTION, said("Rain."), AGAIN, said("Sun.")],
    "the first": [QUESTION, said("Rain.", weight=1), AGAIN, said("Sun.", weight=0)],
    "one of three": [
        *(QUESTION, said("Rain.", weight=1), AGAIN, said("Sun.", weight=0)),
        *(QUESTION, said("Snow.", train=True)),
    ],
}
WEIGHED_QWEN = [QUESTION, {**CALLS, "weight": 1}, RESULT, {**THINKS, "weight": 1}]
REFUSED: dict[str, tuple[str, list[dict[str, Any]], str]] = {
    "a name that nobody writes": ("QWEN3", [NAMED, said("Rain.")], "line 7 (turn 1's name)"),
    "thoughts that nobody writes": (
        "LLAMA3",
        [QUESTION, THINKS],
        "line 7 (turn 2's reasoning_content)",
    ),
    "a text beside a call": (
        "LLAMA3",
        [QUESTION, said("I ask.", tool_calls=[call()])],
        "line 7 (turn 2's content)",
    ),
    "calls that nobody writes": (
        "DEEPSEEK",
        [QUESTION, said("I ask.", tool_calls=[call("x")])],
        "turn 2's tool_calls[0].function.arguments",
    ),
    "an unknown key": ("QWEN3", [QUESTION, said("Rain.", mood="wet")], "line 7 (turn 2's mood)"),
    "what a template refuses": (
        "LLAMA3",
        [QUESTION, said(None, tool_calls=[call(), call()])],
        "line 7: the chat template refuses it: one call at once",
    ),
    "a token in thoughts": (
        "QWEN3",
        [QUESTION, said("Rain.", reasoning_content="so <|end|>")],
        "line 7 holds '<|end|>'",
    ),
    "a token in arguments": (
        "QWEN3",
        [QUESTION, said(None, tool_calls=[call({"city": "<|user|>"})])],
        "line 7 holds '<|user|>'",
    ),
    "a turn that nobody writes": (
        "NAMELESS",
        [QUESTION, CALLS, RESULT, said("Rain.")],
        "line 7: the chat template leaves out the tool turn",
    ),
}
TOOLS_REFUSED = {
    "tools that nobody writes": ("NAMED", TOOLS, "line 7 (tools[0].function.name)"),
    "tools that are no list": ("QWEN3", "weather", "the column 'tools' is text, but no JSON"),
    "a token in a tool": (
        "QWEN3",
        [{"type": "function", "function": {"name": "<|end|>"}}],
        "line 7 holds '<|end|>'",
    ),
}
NAMELESS = """
{%- for m in messages if m.role != 'tool' %}
    {{- '<|' + m.role + '|>\n' + (m.content or '') + '<|end|>\n' }}
{%- endfor %}
"""


def _cases() -> dict[str, dict[str, Any]]:
    def case(template: str, messages: Any, tools: Any = None) -> dict[str, Any]:
        text = NAMELESS if template == "NAMELESS" else getattr(tool_templates, template)
        return {"template": text, "messages": messages, "tools": tools}

    with_tools = {
        name: case(template, messages, None if template == "NAMED" else TOOLS)
        for name, (template, messages, _) in LEARNT.items()
    }
    without = {
        name: case(template, messages)
        for name, (template, messages, _) in {**NO_TOOLS, **REFUSED}.items()
    }
    weighed = {name: case("NAMED", messages) for name, messages in WEIGHED.items()}
    tools = {
        name: case(template, [QUESTION, said("Rain.")], tools)
        for name, (template, tools, _) in TOOLS_REFUSED.items()
    }
    steps = {"calls and answers": case("QWEN3", WEIGHED_QWEN, TOOLS)}
    return {**with_tools, **without, **weighed, **tools, **steps}


@pytest.fixture(scope="module")
def found(toolchain_python: Path, tiny: Path) -> dict[str, dict[str, Any]]:
    """Return what becomes of each case."""
    cases = _cases()
    done = subprocess.run(
        [
            *(str(toolchain_python), "-m", "tests.support.tool_rows"),
            *(str(tiny / "checkpoint"), json.dumps(list(cases.values()))),
        ],
        cwd=plans.ROOT,
        env={**os.environ, "PYTHONPATH": str(plans.ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(cases, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("name", [*LEARNT, *NO_TOOLS])
def test_what_is_learnt_is_what_transformers_renders(
    found: dict[str, dict[str, Any]], name: str
) -> None:
    row = found[name]
    assert "refused" not in row, row
    ids, prompt = row["ids"], row["prompt"]
    assert ids[:prompt] == row["asked"]
    assert ids == row["whole"][: len(ids)]
    assert len(row["whole"]) - len(ids) <= 1  # a line break after the end
    assert row["labels"] == [-100] * prompt + ids[prompt:]
    assert row["left_out"] == {**LEARNT, **NO_TOOLS}[name][2]


def test_the_calls_and_thoughts_stand_in_what_is_learnt(found: dict[str, dict[str, Any]]) -> None:
    learnt = {name: "".join(row["learnt"]) for name, row in found.items() if "learnt" in row}
    arguments = json.dumps(ASKED)
    block = f'<tool_call>\n{{"name": "weather", "arguments": {arguments}}}\n</tool_call>'
    empty = "<think>\n\n</think>\n\n"
    assert learnt["a call"] == f"{empty}{block}<|end|>"
    assert learnt["two calls after a text"].startswith(f"{empty}I ask.\n{block}\n<tool_call>")
    assert learnt["thoughts"] == "<think>\nThe tool says rain.\n</think>\n\nIt rains.<|end|>"
    assert learnt["a call of Llama's"] == f'{{"name": "weather", "parameters": {arguments}}}<|end|>'
    assert found["a call"]["read_back"] == block
    assert found["thoughts"]["read_back"] == learnt["thoughts"].removesuffix("<|end|>")


@pytest.mark.parametrize("name", ["all", "the last, as ever"])
def test_weights_are_transformers_masks(found: dict[str, dict[str, Any]], name: str) -> None:
    row = found[name]
    mask = row["assistants"][: len(row["ids"])]
    if name != "all":
        first_end = mask.index(0, mask.index(1))
        mask[:first_end] = [0] * first_end
    right = [token if learnt else -100 for token, learnt in zip(row["ids"], mask, strict=True)]
    assert row["labels"] == right


def test_weights_say_which_turns_are_learnt(found: dict[str, dict[str, Any]]) -> None:
    assert found["all"]["learnt"] == ["Rain.<|end|>", "Sun.<|end|>"]
    assert found["one of three"]["learnt"] == ["Rain.<|end|>", "Snow.<|end|>"]
    first = found["the first"]
    assert first["learnt"] == ["Rain.<|end|>"]
    # What follows has no part in it; what stands before is as transformers has it.
    assert first["ids"] == first["whole"][: len(first["ids"])]
    call_, answer = found["calls and answers"]["learnt"]
    assert call_.startswith("<tool_call>") and call_.endswith("</tool_call><|end|>")
    assert answer == "<think>\nThe tool says rain.\n</think>\n\nIt rains.<|end|>"


@pytest.mark.parametrize("name", [*REFUSED, *TOOLS_REFUSED])
def test_what_would_be_dropped_is_named(found: dict[str, dict[str, Any]], name: str) -> None:
    assert {**REFUSED, **TOOLS_REFUSED}[name][2] in found[name].get("refused", found[name])
