"""The token with which a chat template ends a turn."""

from __future__ import annotations

from pathlib import Path

from pipeline.contract.errors import ArtifactError
from pipeline.data.rendering import ANY_ANSWER
from pipeline.data.tokenizer import load_artifact_tokenizer


def turn_end(folder: Path) -> int | None:
    """Return the special token that follows an answer in the chat template, if there is one.

    For Phi-3 it is ``<|end|>``, which ``config.json`` does not name as an end token. Raises
    :class:`ArtifactError` for a template that cannot be rendered.
    """
    from jinja2 import TemplateError

    tokenizer = load_artifact_tokenizer(folder)
    if not tokenizer.chat_template:
        return None
    question = [{"role": "user", "content": "Is it?"}]
    answered = [*question, {"role": "assistant", "content": ANY_ANSWER}]
    try:
        rendered = tokenizer.apply_chat_template(answered, tokenize=False)
    except TemplateError as error:
        raise ArtifactError(f"the chat template cannot be rendered: {error}") from error
    _, separator, tail = rendered.rpartition(ANY_ANSWER)
    if not separator:
        return None
    tail_ids = tokenizer.encode(tail, add_special_tokens=False)
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    return next((int(token) for token in tail_ids if token in special), None)
