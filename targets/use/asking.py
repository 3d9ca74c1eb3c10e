"""How to ask a released model, in words for its card."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from targets.use.program import Program
from targets.use.write_use import ASK, render


@dataclass(frozen=True)
class Asking:
    """How an artifact is asked."""

    script: str
    """The program in Python."""
    usage: str
    """The arguments of the program: a word for each field of the prompt."""
    system: str | None
    """The system message."""
    prompt: str
    """The prompt, with its fields in braces."""
    chat_template: str
    """What makes the model's input of messages, in Jinja; empty if it continues the prompt."""


def asking(program: Program, model: Path) -> Asking:
    """Return how ``program`` asks the artifact in the folder ``model``."""
    template = program.form.template
    return Asking(
        script=render(ASK, program).decode(),
        usage=program.usage,
        system=program.system,
        prompt=f"{{{program.fields[0]}}}" if template is None else template.text,
        chat_template=_chat_template(model) if program.chat else "",
    )


def _chat_template(model: Path) -> str:
    """Return the chat template of the tokenizer in ``model``."""
    file = model / "chat_template.jinja"
    if file.is_file():
        return file.read_text("utf-8")
    stated = json.loads((model / "tokenizer_config.json").read_text("utf-8"))["chat_template"]
    return stated if isinstance(stated, str) else json.dumps(stated, indent=2)
