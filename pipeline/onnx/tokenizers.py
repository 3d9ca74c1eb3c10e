"""Checks that an artifact splits text into the same tokens as the model it was built from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.data.tokenizer import load_artifact_tokenizer
from pipeline.onnx.genai_config import GenAiConfig
from pipeline.onnx.samples import SAMPLES
from pipeline.onnx.session import Session
from pipeline.onnx.turn_end import turn_end


def tokenizer_problems(
    folder: Path, config: GenAiConfig, session: Session, checkpoint: Path | None
) -> list[str]:
    """Return the problems of the tokenizer of the artifact in ``folder``.

    The runtime's tokenizer, transformers' tokenizer from the same files and, if there is a
    ``checkpoint``, the tokenizer of that are compared.
    """
    ours = load_artifact_tokenizer(folder)
    source = ours if checkpoint is None else load_artifact_tokenizer(checkpoint)
    problems = []
    if len(ours) > config.vocabulary:
        problems.append(f"the tokenizer has {len(ours)} tokens, the model {config.vocabulary}")
    if ours.get_vocab() != source.get_vocab():
        differing = set(ours.get_vocab().items()) ^ set(source.get_vocab().items())
        problems.append(f"{len(differing)} tokens are not those of the checkpoint's tokenizer")
    problems += _special(folder, config, ours, source)
    problems += _same_ids(session, source, SAMPLES)
    problems += _same_chat(session, source)
    return problems


def _special(folder: Path, config: GenAiConfig, ours: Any, source: Any) -> list[str]:
    problems = [
        f"{name} is {getattr(ours, name)}, the checkpoint has {getattr(source, name)}"
        for name in ("bos_token_id", "eos_token_id", "pad_token_id")
        if getattr(ours, name) != getattr(source, name)
    ]
    known = set(ours.get_vocab().values())
    problems += [
        f"end token {token} is not a token" for token in config.end_ids if token not in known
    ]
    end = turn_end(folder)
    if end is not None and end not in config.end_ids:
        text = ours.convert_ids_to_tokens(end)
        problems.append(
            f"the chat template ends a turn with {text} ({end}), at which generation does not end"
        )
    return problems


def _same_ids(session: Session, source: Any, texts: Sequence[str]) -> list[str]:
    problems = []
    for text in texts:
        expected = [int(token) for token in source.encode(text)]
        ours = [int(token) for token in session.tokenizer.encode(text)]
        if ours != expected:
            problems.append(f"{text!r} becomes {ours[:12]}, not {expected[:12]}")
            continue
        ordinary = [token for token in ours if token not in source.all_special_ids]
        if not ordinary:
            continue  # onnxruntime_genai 0.13 divides by zero if there is nothing to decode
        back, expected_text = session.tokenizer.decode(ordinary), source.decode(ordinary)
        if back != expected_text:
            problems.append(f"{text!r} comes back as {back!r}, not {expected_text!r}")
    return problems


def _same_chat(session: Session, source: Any) -> list[str]:
    """Check that the runtime renders the chat template as transformers does."""
    if not source.chat_template:
        return []
    messages: list[Mapping[str, str]] = [{"role": "user", "content": "What is it?"}]
    expected = source.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    try:
        rendered = session.tokenizer.apply_chat_template(
            json.dumps(messages), add_generation_prompt=True
        )
    except Exception as error:  # the runtime's template engine raises RuntimeError and others
        return [f"the runtime cannot apply the chat template: {error}"]
    return (
        [] if rendered == expected else [f"the chat template gives {rendered!r}, not {expected!r}"]
    )
