"""Checks that an artifact splits text into the same tokens as the model it was built from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.contract.errors import ArtifactError
from pipeline.data.template_time import template_time
from pipeline.data.tokenizer import load_artifact_tokenizer, load_checkpoint_tokenizer
from pipeline.onnx.answer_ends import turn_end
from pipeline.onnx.artifact_codec import chat_text, different, runtime_ids
from pipeline.onnx.genai_config import GenAiConfig
from pipeline.onnx.samples import CONVERSATIONS, SAMPLES, Conversation
from pipeline.onnx.session import Session

_BLANK = "▁"
"""How SentencePiece writes a blank."""


def tokenizer_problems(
    folder: Path, config: GenAiConfig, session: Session, checkpoint: Path | None
) -> list[str]:
    """Return the problems of the tokenizer of the artifact in ``folder``.

    The runtime's tokenizer, transformers' tokenizer from the same files and, if there is a
    ``checkpoint``, the tokenizer of that are compared: by chats if there is a chat template, since
    the model is asked in no other way, and else by plain texts.
    """
    ours = load_artifact_tokenizer(folder)
    source = ours if checkpoint is None else load_checkpoint_tokenizer(checkpoint)
    problems = []
    if len(ours) > config.vocabulary:
        problems.append(f"the tokenizer has {len(ours)} tokens, the model {config.vocabulary}")
    if ours.get_vocab() != source.get_vocab():
        differing = set(ours.get_vocab().items()) ^ set(source.get_vocab().items())
        problems.append(f"{len(differing)} tokens are not those of the checkpoint's tokenizer")
    problems += _special(config, ours, source)
    problems += (_same_chats if source.chat_template else _same_texts)(session, source)
    problems += _same_back(session, source)
    return problems


def _special(config: GenAiConfig, ours: Any, source: Any) -> list[str]:
    problems = [
        f"{name} is {getattr(ours, name)}, the checkpoint has {getattr(source, name)}"
        for name in ("bos_token_id", "eos_token_id", "pad_token_id")
        if getattr(ours, name) != getattr(source, name)
    ]
    problems += _added(ours, source)
    known = set(ours.get_vocab().values())
    problems += [
        f"end token {token} is not a token" for token in config.end_ids if token not in known
    ]
    end = turn_end(ours)
    if end is not None and end not in config.end_ids:
        text = ours.convert_ids_to_tokens(end)
        problems.append(
            f"the chat template ends a turn with {text} ({end}), at which generation does not end"
        )
    return problems


def _added(ours: Any, source: Any) -> Iterator[str]:
    """Yield in what the tokens differ that are outside the vocabulary of the algorithm: one that is
    not special any more appears in answers."""
    for token, wanted in source.added_tokens_decoder.items():
        found = ours.added_tokens_decoder.get(token)
        if found is None:
            if wanted.content.strip(_BLANK):  # the runtime would write a run of blanks as it is
                yield f"{wanted.content} ({token}) is an ordinary token"
            continue
        for name in ("content", "special", "lstrip", "rstrip", "single_word"):
            mine, theirs = getattr(found, name), getattr(wanted, name)
            if mine != theirs:
                yield f"{wanted.content} ({token}): {name} is {mine}, not {theirs}"


def _same_texts(session: Session, source: Any) -> list[str]:
    """Check texts outside a chat: a model without a chat template is given nothing else.

    The runtime never puts the beginning of a text (BOS) before it; that is the caller's to do. And
    SentencePiece's blank it puts before every text, transformers before those without one: whether
    there are such among the prompts of the config is another proof.
    """
    blank = _BLANK in source.get_vocab()
    problems = []
    for sample in SAMPLES:
        text = sample.lstrip(" ") if blank else sample
        expected = [int(token) for token in source.encode(text, add_special_tokens=False)]
        found = runtime_ids(session.tokenizer, text)
        problems += different(repr(text), found, expected)
    return problems


def _same_chats(session: Session, source: Any) -> list[str]:
    """Check that the runtime makes the ids of a rendered chat that transformers makes."""
    problems = []
    for messages, wanted in _rendered(source):
        asks = messages[-1]["role"] == "user"
        expected = [int(token) for token in source.encode(wanted, add_special_tokens=False)]
        try:
            rendered = chat_text(session.tokenizer, messages, asks)
        except ArtifactError as error:
            return [str(error)]
        found = runtime_ids(session.tokenizer, rendered)
        if found != expected and rendered.lstrip(" ") != wanted.lstrip(" "):
            problems.append(f"the chat template gives {rendered!r}, not {wanted!r}")
        else:
            problems += different(f"the chat {wanted!r}", found, expected)
    return problems


def _rendered(source: Any) -> Iterator[tuple[Conversation, str]]:
    """Yield the conversations that the template takes, as transformers renders them: there are
    models without a system turn."""
    from jinja2 import TemplateError

    for messages in CONVERSATIONS:
        asks = messages[-1]["role"] == "user"
        try:
            with template_time():
                text = source.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=asks
                )
        except TemplateError:
            continue
        yield messages, text


def _same_back(session: Session, source: Any) -> list[str]:
    """Check that ids become the text that transformers makes of them.

    The runtime leaves the blank with which SentencePiece begins a text.
    """
    problems = []
    for text in SAMPLES:
        ids = source.encode(text, add_special_tokens=False)
        kept = [int(token) for token in ids if token not in source.all_special_ids]
        if not kept:
            continue  # onnxruntime_genai 0.13 divides by zero on decoding nothing
        back, wanted = session.tokenizer.decode(kept), source.decode(kept)
        if back not in (wanted, f" {wanted}"):
            problems.append(f"{text!r} comes back as {back!r}, not {wanted!r}")
    return problems
