"""How Foundry Local puts a question to an artifact: a text in place of its chat template.

https://learn.microsoft.com/azure/ai-foundry/foundry-local/how-to/how-to-compile-hugging-face-models
"""

from __future__ import annotations

from typing import Any

from pydantic import JsonValue

from pipeline.data.template_time import template_time

CONTENT = "{Content}"
"""What Foundry Local replaces with the text of a turn."""


def foundry_template(tokenizer: Any) -> dict[str, JsonValue]:
    """Return ``PromptTemplate`` of ``inference_model.json``; empty where the chat template makes no
    such text of one message."""
    if not tokenizer.chat_template:
        return {}
    turns = [{"role": "user", "content": CONTENT}]
    try:
        with template_time():
            prompt: str = tokenizer.apply_chat_template(
                turns, add_generation_prompt=True, tokenize=False
            )
    except Exception:  # whatever a template's own code raises
        return {}
    return {"assistant": CONTENT, "prompt": prompt} if prompt.count(CONTENT) == 1 else {}
