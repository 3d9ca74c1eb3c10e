"""Lengths of chats in tokens as transformers renders them, and their percentiles as NumPy has them.

Usage, by a toolchain's Python: ``python -m tests.support.rendered_lengths CHECKPOINT PARTS``; the
last is a JSON table of lists of question and answer. Prints a JSON table with the percentiles 50,
90 and 99 of each, and the longest.
"""

from __future__ import annotations

import json
import sys

import numpy
from transformers import AutoTokenizer

END = "<|end|>"


def main() -> None:
    """Print the lengths."""
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
    found = {}
    for part, rows in json.loads(sys.argv[2]).items():
        lengths = []
        for question, answer in rows:
            chat = [
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
            ]
            text = tokenizer.apply_chat_template(chat, tokenize=False)
            # Up to the token that ends the answer: what the template writes after it is not said.
            answered = text[: text.rindex(END) + len(END)]
            lengths.append(len(tokenizer.encode(answered, add_special_tokens=False)))
        shares = numpy.percentile(lengths, [50, 90, 99], method="inverted_cdf")
        found[part] = [*map(int, shares), max(lengths)]
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main()
