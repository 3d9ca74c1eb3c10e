"""Writes a tokenizer's files such that the runtime gives a chat the ids that transformers gives it.

ONNX Runtime GenAI's tokenizer (onnxruntime-extensions) reads the same files as transformers, but:

- Chat templates mean something else to it: see :mod:`pipeline.builder.portable_template`.
- For SentencePiece-style BPE it puts ``▁`` before a text and after each special token if the
  decoder has a step ``Strip``, and nowhere if it has none (``LoadSpmModelParams``).
- Of all classes only ``GemmaTokenizer`` joins tokens of such BPE across blanks, as it must be.
- It writes an added token as it is listed, so that Gemma's runs of blanks come out as ``▁▁``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.builder.portable_template import portable
from pipeline.builder.session_options import write_config
from pipeline.data.template_time import template_time
from pipeline.data.tokenizer import load_artifact_tokenizer

_PLACE_OR_MOOD = ("is_local", "local_files_only", "name_or_path", "_name_or_path")
"""Entries of ``tokenizer_config.json`` that depend on how and where the tokenizer was loaded."""

_NEW_CLASS, _PORTABLE_CLASS = "TokenizersBackend", "PreTrainedTokenizerFast"
"""transformers 5 writes the first; transformers 4 and onnxruntime_genai 0.13 know the second."""
_SENTENCEPIECE_CLASS = "GemmaTokenizer"

_SPACE = "▁"
_TEMPLATE_FILE = "chat_template.jinja"


def make_readable(folder: Path) -> None:
    """Rewrite the tokenizer's files in ``folder`` for the runtime."""
    tokenizer_file, config_file = folder / "tokenizer.json", folder / "tokenizer_config.json"
    config = json.loads(config_file.read_text("utf-8"))
    for name in _PLACE_OR_MOOD:
        config.pop(name, None)
    if config.get("tokenizer_class") == _NEW_CLASS:
        config["tokenizer_class"] = _PORTABLE_CLASS
    content = json.loads(tokenizer_file.read_text("utf-8")) if tokenizer_file.is_file() else {}
    if _is_sentencepiece(content):
        config["tokenizer_class"] = _SENTENCEPIECE_CLASS
        blanks = _blanks(content)
        if blanks:
            content["added_tokens"] = [
                token for token in content["added_tokens"] if token["content"] not in blanks
            ]
            _write_tokenizer(folder, content)
    write_config(config_file, config)
    template_file = folder / _TEMPLATE_FILE
    if not template_file.is_file():
        return
    template = portable(template_file.read_text("utf-8"))
    template_file.write_text(template, "utf-8", newline="\n")
    if _is_sentencepiece(content) and _strips(content):
        _place_spaces(folder, content, template)


def _place_spaces(folder: Path, content: dict[str, Any], template: str) -> None:
    """Have the runtime put ``▁`` into a rendered chat where transformers puts it, if it can."""
    tokenizer = load_artifact_tokenizer(folder)
    if _spaced(tokenizer, f"{tokenizer.all_special_tokens[0]}a", 1):
        return  # as the runtime does
    # The same text without a step of that name, which the runtime looks for.
    content["decoder"]["decoders"] = [
        {"type": "Metaspace", "replacement": _SPACE, "prepend_scheme": "first", "split": False},
        *(step for step in content["decoder"]["decoders"] if step["type"] != "Strip"),
    ]
    _write_tokenizer(folder, content)
    question = [{"role": "user", "content": "a"}]
    with template_time():
        chat = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    if _spaced(tokenizer, chat, 0):
        # A blank becomes the token that transformers puts before a text.
        text = "{{ ' ' }}" + template
        (folder / _TEMPLATE_FILE).write_text(text, "utf-8", newline="\n")


def _spaced(tokenizer: Any, text: str, position: int) -> bool:
    """Return whether the token at ``position`` of ``text`` begins with ``▁``."""
    ids = tokenizer.encode(text, add_special_tokens=False)[position : position + 1]
    return any(token.startswith(_SPACE) for token in tokenizer.convert_ids_to_tokens(ids))


def _write_tokenizer(folder: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, ensure_ascii=False, indent=2)
    (folder / "tokenizer.json").write_text(text, "utf-8", newline="\n")


def _blanks(content: dict[str, Any]) -> set[str]:
    """Return the added tokens that are runs of blanks and that the model has without that: they
    need not be added, since in a text they are blanks until it is split."""
    vocabulary = content["model"].get("vocab", {})
    return {
        token["content"]
        for token in content.get("added_tokens", ())
        if not token["content"].strip(_SPACE)
        and not token["normalized"]
        and vocabulary.get(token["content"]) == token["id"]
    }


def _is_sentencepiece(content: dict[str, Any]) -> bool:
    return any(
        step.get("type") == "Replace" and step.get("pattern") == {"String": _SPACE}
        for step in _decoding(content)
    )


def _strips(content: dict[str, Any]) -> bool:
    return any(step.get("type") == "Strip" for step in _decoding(content))


def _decoding(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the steps of the decoder in a ``tokenizer.json``."""
    decoder = content.get("decoder") or {}
    steps: list[dict[str, Any]] = decoder.get("decoders") or [decoder]
    return steps
