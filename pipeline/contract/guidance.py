"""What ONNX Runtime GenAI holds the tokens of an answer to while it generates."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.contract.frozen import Frozen


class Guidance(Frozen):
    """Arguments of GenAI's ``set_guidance``."""

    type: Literal["regex", "lark_grammar"]
    data: str = Field(min_length=1)


class GuidedStart(Frozen):
    """How a guided answer begins, for an artifact and the form of its prompts."""

    guidance: Guidance
    after_prompt: str = ""
    """What is put between prompt and answer: up to its last special token, the block that the chat
    template writes before an answer (Qwen3's ``<think>``). No grammar can have the model say it."""
    before_answer: str = ""
    """What the model says before the answer, and is not of it: the rest of that block."""
