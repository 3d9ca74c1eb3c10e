"""The kinds of steps, and of outputs of passes."""

from __future__ import annotations

from typing import Literal

StepKind = Literal["pass", "check"]
"""A step of a plan changes a model, or proves something about one."""

Kind = Literal[
    "checkpoint",
    "adapter",
    "widths",
    "integers",
    "onnx",
    "predictions",
    "rows",
    "tokens",
    "quantized",
]
"""Output of a pass: a Hugging Face checkpoint folder, a PEFT adapter folder, the widths of a
checkpoint's matrices, its weights as integers, an ONNX Runtime GenAI model folder, the answers of a
model to the held-out prompts, the rows of a data set, the tokens of what is trained on, or a
checkpoint in the 4 bits that adapters are trained over."""

Choice = Literal["widths", "integers"]
"""The kinds that say how the newest checkpoint is to be quantized, until there is another."""

CHOICES: tuple[Choice, ...] = ("widths", "integers")

ARTIFACT_WORDS: dict[Kind, str] = {
    "onnx": "an ONNX model",
    "checkpoint": "a checkpoint",
    "adapter": "an adapter",
}
"""The kinds that a chain may end with, for messages."""
