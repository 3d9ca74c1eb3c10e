"""Writes a tokenizer's files such that the runtime gives a chat the ids that transformers gives it.

ONNX Runtime GenAI's tokenizer (onnxruntime-extensions) reads the same files as transformers, but:

- A template's blocks keep the white space around them, which transformers removes (Jinja's
  ``trim_blocks`` and ``lstrip_blocks``).
- For SentencePiece-style BPE it puts ``▁`` before a text and after each special token if the
  decoder has a step ``Strip``, and nowhere if it has none (``LoadSpmModelParams``).
- Until 0.13 it knows such BPE by the class ``LlamaTokenizer`` alone.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pipeline.builder.session_options import write_config
from pipeline.contract.errors import StepError

_PLACE_OR_MOOD = ("is_local", "local_files_only", "name_or_path", "_name_or_path")
"""Entries of ``tokenizer_config.json`` that depend on how and where the tokenizer was loaded."""

_NEW_CLASS, _PORTABLE_CLASS = "TokenizersBackend", "PreTrainedTokenizerFast"
"""transformers 5 writes the first; transformers 4 and onnxruntime_genai 0.13 know the second."""
_SENTENCEPIECE_CLASS = "LlamaTokenizer"

_SPACE = "▁"
_TEMPLATE_FILE = "chat_template.jinja"

_BEGINNINGS, _ENDS = ("variable_begin", "block_begin"), ("variable_end", "block_end")
_LEFT_OUT = ("comment_begin", "comment", "comment_end", "raw_begin", "raw_end")
"""Kinds of the tokens of Jinja's lexer."""
_UNSAFE = re.compile(r"^[\s{}%#]|[\s{}%#]$|\{[{%#]")
_ESCAPES = str.maketrans({"\\": r"\\", "'": r"\'", "\n": r"\n", "\r": r"\r", "\t": r"\t"})


def make_readable(folder: Path, by_class: bool) -> None:
    """Rewrite the tokenizer's files in ``folder`` for the runtime.

    ``by_class`` says that the runtime knows SentencePiece-style BPE by its class.
    """
    tokenizer_file, config_file = folder / "tokenizer.json", folder / "tokenizer_config.json"
    config = json.loads(config_file.read_text("utf-8"))
    for name in _PLACE_OR_MOOD:
        config.pop(name, None)
    if config.get("tokenizer_class") == _NEW_CLASS:
        config["tokenizer_class"] = _PORTABLE_CLASS
    content = json.loads(tokenizer_file.read_text("utf-8")) if tokenizer_file.is_file() else {}
    if by_class and _is_sentencepiece(content):
        config["tokenizer_class"] = _SENTENCEPIECE_CLASS
    write_config(config_file, config)
    template_file = folder / _TEMPLATE_FILE
    if not template_file.is_file():
        return
    template = with_trimmed_blocks(template_file.read_text("utf-8"))
    template_file.write_text(template, "utf-8", newline="\n")
    if _is_sentencepiece(content) and _strips(content):
        _place_spaces(folder, content, template)


def with_trimmed_blocks(template: str) -> str:
    """Return a template that renders the same with ``trim_blocks`` and ``lstrip_blocks`` as without
    them, namely as ``template`` does with them.

    Jinja's own lexer says which text is left between blocks. Text whose ends a template engine may
    take for something else is written as a string; comments are left out.

    Raises ``StepError`` for a template that is none.
    """
    from jinja2 import Environment, TemplateSyntaxError

    lexer = Environment(trim_blocks=True, lstrip_blocks=True, autoescape=True).lexer
    try:
        tokens = [*lexer.tokeniter(template, None)]
    except TemplateSyntaxError as error:
        why = f"line {error.lineno} of the chat template: {error.message}"
        raise StepError(why, "mend the model's chat_template", "bad_input") from None
    written: list[str] = []
    for _, kind, value in tokens:
        if kind == "data":
            written.append(_literal(value))
        elif kind in _BEGINNINGS:
            written.append(f"{value[:2]} ")  # a blank, since "{{-" would take white space with it
        elif kind in _ENDS:
            written.append(value.strip("+-\n\t ")[-2:])
        elif kind not in _LEFT_OUT:
            written.append(value)
    return "".join(written)


def _literal(text: str) -> str:
    """Return what renders as ``text`` wherever it stands."""
    if not _UNSAFE.search(text):
        return text
    escaped = text.translate(_ESCAPES)
    return f"{{{{ '{escaped}' }}}}"


def _place_spaces(folder: Path, content: dict[str, Any], template: str) -> None:
    """Have the runtime put ``▁`` into a rendered chat where transformers puts it, if it can."""
    from pipeline.data.tokenizer import load_artifact_tokenizer

    tokenizer = load_artifact_tokenizer(folder)
    if _spaced(tokenizer, f"{tokenizer.all_special_tokens[0]}a", 1):
        return  # as the runtime does
    # The same text without a step of that name, which the runtime looks for.
    content["decoder"]["decoders"] = [
        {"type": "Metaspace", "replacement": _SPACE, "prepend_scheme": "first", "split": False},
        *(step for step in content["decoder"]["decoders"] if step["type"] != "Strip"),
    ]
    text = json.dumps(content, ensure_ascii=False, indent=2)
    (folder / "tokenizer.json").write_text(text, "utf-8", newline="\n")
    question = [{"role": "user", "content": "a"}]
    chat = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    if _spaced(tokenizer, chat, 0):
        # A blank becomes the token that transformers puts before a text.
        text = "{{ ' ' }}" + template
        (folder / _TEMPLATE_FILE).write_text(text, "utf-8", newline="\n")


def _spaced(tokenizer: Any, text: str, position: int) -> bool:
    """Return whether the token at ``position`` of ``text`` begins with ``▁``."""
    ids = tokenizer.encode(text, add_special_tokens=False)[position : position + 1]
    return any(token.startswith(_SPACE) for token in tokenizer.convert_ids_to_tokens(ids))


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
