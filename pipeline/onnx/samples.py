"""Texts and conversations with which tokenizers, templates and models are tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Conversation = Sequence[Mapping[str, str]]

SAMPLES = (
    "Hello, world!",
    "  two  spaces\tand a tab\nand a new line\n",
    "Ünïcödé — naïve café, 東京, привет, 🙂👍🏽",
    "numbers 1234567890 3.14159 -42 1,000,000",
    "code: def f(x): return x**2  # comment",
    "can't won't it's I'll we've",
    "",
)
"""Texts that most wrong tokenizers split differently."""


def _said(*turns: str) -> Conversation:
    """Return a conversation of ``role: text``."""
    parts = (turn.partition(": ") for turn in turns)
    return [{"role": role, "content": text} for role, _, text in parts]


_ASKED = "user: Is it far?"
_TOLD = "assistant: No, two miles."
_ASKED_AGAIN = "user: And back?"
_SYSTEM = "system: You answer in one sentence."

CONVERSATIONS: tuple[Conversation, ...] = (
    *(_said(f"user: {text}") for text in SAMPLES),
    _said(_SYSTEM, _ASKED),
    _said(_ASKED, _TOLD, _ASKED_AGAIN),
    _said(_SYSTEM, _ASKED, _TOLD, _ASKED_AGAIN),
    _said(_ASKED, "assistant: <think>\nIt is not.\n</think>\n\nNo.", _ASKED_AGAIN),
    _said("user: He said \"{{ x }} {% y %}\" \\n & <b>'left'</b>."),
    _said(_ASKED, _TOLD),
)
"""One turn and several, with and without a system turn, an earlier thought, empty and unusual text.
The last one ends with an answer."""
