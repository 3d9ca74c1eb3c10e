"""Questions and conversations for the ``generate`` pass."""

from __future__ import annotations

import pytest
from pydantic import JsonValue

from pipeline.contract.data_spec import DataSpec
from targets.errors import ConfigError
from targets.try_artifact import conversation, question

ASKED: JsonValue = {"role": "user", "content": "Hello?"}
ANSWERED: JsonValue = {"role": "assistant", "content": "Yes."}


def test_a_conversation_holds_every_turn_and_one_system_message() -> None:
    spec = DataSpec(path="x.jsonl", prompt="Is it {word}?", completion="{a}", system="Be brief.")
    system: JsonValue = {"role": "system", "content": "Be brief."}
    first = conversation(question(spec, "Hello"), [])["messages"]
    assert first == [system, {"role": "user", "content": "Is it Hello?"}]
    second = conversation(question(spec, "so"), [*first, ANSWERED])["messages"]
    assert second == [*first, ANSWERED, {"role": "user", "content": "Is it so?"}]


def test_without_a_prompt_the_lines_are_the_turns() -> None:
    first = conversation(question(None, "Hello?"), [])["messages"]
    assert first == [ASKED]
    assert conversation(question(None, "Hello?"), [ASKED, ANSWERED])["messages"] == [
        ASKED,
        ANSWERED,
        ASKED,
    ]


def test_raw_text_holds_no_chat() -> None:
    spec = DataSpec(path="x.jsonl", template="{word}: {a}", completion="{a}")
    with pytest.raises(ConfigError, match="raw text"):
        conversation(question(spec, "Hello"), [])
