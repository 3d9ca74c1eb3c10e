"""How a question is put to a model: the form of a data set's prompts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pipeline.contract.data_spec import DataSpec
from pipeline.data.template import Template


@dataclass(frozen=True)
class PromptForm:
    """What is filled in, and whether it is a message of a chat."""

    template: Template | None = None
    """``None`` if the question is the user's message as it is."""
    chat: bool = True
    """Whether the filled template is a message; else the model continues it."""
    system: str | None = None
    """The first message of the chat."""


def prompt_form(spec: DataSpec | None) -> PromptForm:
    """Return the form of the prompts of ``spec``: a message without a data set, or for data of
    whole conversations."""
    if spec is None or spec.messages is not None:
        return PromptForm()
    if spec.template is None:
        return PromptForm(Template(spec.prompt or ""), spec.chat, spec.system)
    text = spec.template
    return PromptForm(Template(text.removesuffix(spec.completion or "")), chat=False)


def has_chat_template(folder: Path) -> bool:
    """Return whether the tokenizer in ``folder`` has a chat template."""
    if (folder / "chat_template.jinja").is_file():
        return True
    config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    return bool(config.get("chat_template"))
