"""The tokens that end an answer: the same for base, tuned model and artifact."""

from __future__ import annotations

from typing import Any

from pipeline.contract.errors import ArtifactError
from pipeline.data.rendering import ANY_ANSWER
from pipeline.data.template_time import template_time
from pipeline.onnx.checkpoint import Checkpoint, as_ids


def answer_ends(checkpoint: Checkpoint, tokenizer: Any) -> tuple[int, ...]:
    """Return the ids that end an answer of the model in ``checkpoint``.

    They are those that its config and its generation config name, the end of a text of its
    ``tokenizer``, and the token with which its chat template ends a turn.
    """
    found = [
        *as_ids(checkpoint.config.get("eos_token_id")),
        *checkpoint.end_ids,
        *as_ids(tokenizer.eos_token_id),
        *as_ids(turn_end(tokenizer)),
    ]
    return tuple(dict.fromkeys(found))


def turn_end(tokenizer: Any) -> int | None:
    """Return the special token that follows an answer in the chat template, if there is one.

    For Phi-3 it is ``<|end|>``, which ``config.json`` does not name as an end token. Raises
    :class:`ArtifactError` for a template that cannot be rendered.
    """
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        return None
    question = [{"role": "user", "content": "Is it?"}]
    answered = [*question, {"role": "assistant", "content": ANY_ANSWER}]
    try:
        with template_time():
            rendered = tokenizer.apply_chat_template(answered, tokenize=False)
    except TemplateError as error:
        raise ArtifactError(f"the chat template cannot be rendered: {error}") from error
    _, separator, tail = rendered.rpartition(ANY_ANSWER)
    if not separator:
        return None
    tail_ids = tokenizer.encode(tail, add_special_tokens=False)
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    return next((int(token) for token in tail_ids if token in special), None)
