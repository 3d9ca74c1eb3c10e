"""Holds an artifact's tokenizer in the runtime against transformers: run by a toolchain's Python.

Usage: ``python -m tests.tokenizers.ask SOURCE ARTIFACT TEXTS [MODEL WHEELS]`` prints JSON: for each
of the texts, and for each conversation made of them, what differs. It does without Quern's own
code: the plain calls of the libraries, and the tokenizer as it was published. ``MODEL`` is the same
tokenizer as a SentencePiece model, which the library in the folder ``WHEELS`` reads.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxruntime_genai as og
from jinja2 import TemplateError
from transformers import AutoTokenizer


def conversations(texts: list[str]) -> Iterator[list[dict[str, str]]]:
    """Yield chats: with and without a system turn, of one turn and of three, also empty ones."""
    for text in texts:
        question = {"role": "user", "content": text}
        yield [question]
        yield [{"role": "system", "content": text}, question]
        yield [question, {"role": "assistant", "content": text}, {"role": "user", "content": ""}]


def differences(theirs: Any, ours: Any, texts: list[str]) -> Iterator[dict[str, object]]:
    """Yield what the runtime makes otherwise of a text or of a conversation."""
    for text in texts:
        wanted = theirs.encode(text, add_special_tokens=False)
        found = [int(token) for token in ours.encode(text)]
        if found != wanted:
            yield {"text": text, "runtime": found, "transformers": wanted}
        # The runtime leaves the blank with which SentencePiece begins a text.
        if wanted and (back := ours.decode(wanted)).strip(" ") != text.strip(" "):
            yield {"text": text, "back": back}
    if not theirs.chat_template:
        return
    for chat in conversations(texts):
        try:
            text = theirs.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        except TemplateError:
            continue  # there are models without a system turn
        rendered = ours.apply_chat_template(json.dumps(chat), add_generation_prompt=True)
        wanted = theirs.encode(text, add_special_tokens=False)
        found = [int(token) for token in ours.encode(rendered)]
        if found != wanted:
            yield {"chat": chat, "runtime": rendered, "transformers": text}


def from_sentencepiece(ours: Any, model: Path, texts: list[str]) -> Iterator[dict[str, object]]:
    """Yield the texts of which the runtime does not make the ids of a SentencePiece model."""
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor(str(model))
    for text in texts:
        found = [int(token) for token in ours.encode(text)]
        if text and found != (wanted := pieces.encode(text)):
            yield {"text": text, "runtime": found, "sentencepiece": wanted}


def main(source: Path, artifact: Path, texts: list[str], model: Path | None = None) -> None:
    """Print the differences."""
    config = og.Config(str(artifact))
    config.clear_providers()
    ours = og.Tokenizer(og.Model(config))
    found = [*differences(AutoTokenizer.from_pretrained(source), ours, texts)]
    if model is not None:
        found += from_sentencepiece(ours, model, texts)
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    sys.path += sys.argv[5:]
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]), *map(Path, sys.argv[4:5]))
