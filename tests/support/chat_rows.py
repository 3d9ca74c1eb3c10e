"""Rows of chats as Quern trains on them, beside what transformers renders.

Usage, by a toolchain's Python: ``python -m tests.support.chat_rows CHECKPOINT TEMPLATES CHATS``;
the last two are JSON: a list of chat templates, and a list of conversations that end with the
assistant's answer. Prints a JSON list with a list of rows for each template: the ids of the prompt,
those of the answer, the ids that transformers has for the whole conversation, and the answer as
read back from its ids.
"""

from __future__ import annotations

import json
import sys
import unittest.mock
from datetime import datetime
from typing import Any

from transformers import AutoTokenizer
from transformers.utils import chat_template_utils

from pipeline.data.chat import Message
from pipeline.data.examples import Example
from pipeline.data.refusals import PromptError
from pipeline.data.tokenize import Codec


class FixedClock:
    """The clock of transformers' chat templates, which stands still."""

    @staticmethod
    def now() -> datetime:
        """Return the date that is Quern's default."""
        return datetime(2024, 7, 26)  # noqa: DTZ001 - as transformers has it


def row(tokenizer: Any, chat: list[dict[str, str]]) -> dict[str, Any]:
    """Return what Quern and transformers make of one conversation."""
    turns = tuple(Message(turn["role"], turn["content"]) for turn in chat)
    example = Example(1, turns[:-1], turns[-1].content)
    codec = Codec(tokenizer)
    with unittest.mock.patch.object(chat_template_utils, "datetime", FixedClock):
        whole = tokenizer.apply_chat_template(chat, tokenize=True, return_dict=False)
    try:
        prompt = codec.prompt_ids(example)
        answer = codec.completion_ids(example.completion, example)
    except PromptError as error:
        return {"refused": str(error)}
    return {
        "prompt": prompt,
        "answer": answer,
        "whole": whole,
        "text": codec.answer_text(answer, example),
    }


def main() -> None:
    """Print the rows."""
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
    templates, chats = json.loads(sys.argv[2]), json.loads(sys.argv[3])
    rows = []
    for template in templates:
        tokenizer.chat_template = template
        rows.append([row(tokenizer, chat) for chat in chats])
    print(json.dumps(rows))  # noqa: T201


if __name__ == "__main__":
    main()
