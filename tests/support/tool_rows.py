"""Conversations with calls of tools, thoughts and weights, beside what transformers renders.

Usage, by a toolchain's Python: ``python -m tests.support.tool_rows CHECKPOINT CASES``; the last is
a JSON list of tables: the ``messages`` and ``tools`` of a row, and a chat ``template``. Prints a
JSON list with the row's ids and labels, the texts of what is learnt, what transformers has for the
whole conversation, for the question, and for the turns that the template says are the assistant's.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from transformers import AutoTokenizer

from pipeline.contract.data_spec import DataSpec
from pipeline.contract.errors import StepError
from pipeline.data.check import check_rows
from pipeline.data.examples import make_examples
from pipeline.data.row_store import Row
from pipeline.data.tokenize import Codec, encode

SPEC = DataSpec.model_validate(
    {"path": "x", "messages": "messages", "split": {"eval": 0, "validation": 0}}
)


def result(tokenizer: Any, case: dict[str, Any]) -> dict[str, Any]:
    """Return what becomes of one row."""
    tokenizer.chat_template = case["template"]
    row = Row(7, {"messages": case["messages"], "tools": case.get("tools")})
    problems = check_rows([row], SPEC)
    if problems:
        return {"refused": problems[0].message}
    (example,) = make_examples([row], SPEC)
    codec = Codec(tokenizer)
    try:
        tokens, prompt = encode(example, codec)
    except StepError as error:
        return {"refused": str(error)}
    plain = [
        {key: value for key, value in turn.items() if key not in ("weight", "train")}
        for turn in case["messages"]
    ]
    rendered = {"tools": case.get("tools"), "tokenize": True, "return_dict": True}
    whole = tokenizer.apply_chat_template(plain, return_assistant_tokens_mask=True, **rendered)
    asked = tokenizer.apply_chat_template(plain[:-1], add_generation_prompt=True, **rendered)
    return {
        "ids": tokens.ids,
        "labels": tokens.labels,
        "prompt": prompt,
        "whole": whole["input_ids"],
        "asked": asked["input_ids"],
        "assistants": whole["assistant_masks"],
        "learnt": [text for text, learnt in codec.pieces(tokens) if learnt],
        "left_out": [item.path for item in codec.unread(example)],
        "read_back": codec.answer_text(codec.completion_ids(example.completion, example), example),
    }


def main() -> None:
    """Print the results."""
    cases = json.loads(sys.argv[2])
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
    print(json.dumps([result(tokenizer, case) for case in cases]))  # noqa: T201


if __name__ == "__main__":
    main()
