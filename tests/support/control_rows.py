"""What becomes of control tokens in texts of rows, and of what a tokenizer adds to a text.

Usage, by a toolchain's Python: ``python -m tests.support.control_rows CHECKPOINT CASES``; the last
is JSON: a list of tables with the ``turns`` of a conversation or the ``raw`` prompt and answer, and
a ``template``. ``adds`` is what the tokenizer puts around a text. Prints a JSON list with the ids
of prompt and answer and transformers' ids of the parts, or with the reason of a refusal.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from pipeline.contract.errors import StepError
from pipeline.data.chat import Message
from pipeline.data.examples import Example
from pipeline.data.tokenize import Codec


def result(tokenizer: Any, case: dict[str, Any]) -> dict[str, Any]:
    """Return what becomes of one case."""
    tokenizer.chat_template = case.get("template", tokenizer.chat_template)
    if case.get("adds"):
        eos = tokenizer.eos_token
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=case["adds"].replace("E", eos),
            special_tokens=[(eos, tokenizer.eos_token_id)],
        )
    if "raw" in case:
        prompt, answer = case["raw"]
        example = Example(7, (Message("user", prompt),), answer, chat=False, given=(case["given"],))
    else:
        turns = tuple(Message(*turn) for turn in case["turns"])
        example = Example(7, turns[:-1], turns[-1].content)
    codec = Codec(tokenizer)
    try:
        ids = codec.prompt_ids(example), codec.completion_ids(example.completion, example)
    except StepError as error:
        return {"refused": str(error), "cause": error.cause}
    plain = [tokenizer.encode(text, add_special_tokens=False) for text in case.get("raw", ())]
    added = tokenizer.encode("x", add_special_tokens=True)
    return {
        "prompt": ids[0],
        "answer": ids[1],
        "plain": plain,
        "eos": tokenizer.eos_token_id,
        "added": added,
        "mark": codec.plain_mark_in(example),
    }


def main() -> None:
    """Print the results."""
    cases = json.loads(sys.argv[2])
    print(  # noqa: T201
        json.dumps([result(AutoTokenizer.from_pretrained(sys.argv[1]), case) for case in cases])
    )


if __name__ == "__main__":
    main()
