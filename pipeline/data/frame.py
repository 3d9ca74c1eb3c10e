"""What a chat template writes around the turns of a conversation: its frame.

A frame is found with stand-ins for the turns, which no template writes by itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.data.chat import Message
from pipeline.data.refusals import PromptError

_SIGNS = re.compile(r"[\[\]<>|#]")
"""Signs that make a word of a template a mark: ``[INST]``, ``<|user|>``, ``### Response:``."""


@dataclass(frozen=True)
class Frame:
    """What stands around the turns of conversations with the same roles."""

    pieces: tuple[str, ...]
    """The template's texts before, between and after the turns of a prompt."""
    tail: str
    """What the template writes after an answer."""

    @property
    def around(self) -> str:
        """All that the template writes."""
        return "\n".join((*self.pieces, self.tail))

    def marks(self, token: re.Pattern[str]) -> frozenset[str]:
        """Return the marks of turns that are ordinary text, and no ``token``: in the text of a user
        they cannot be told from the template's."""
        parts = (*self.pieces, self.tail)
        words = {word.strip() for part in parts for word in token.split(part)}
        return frozenset(word for word in words if _SIGNS.search(word))


def stand_ins(turns: Sequence[Message], plain: bool) -> tuple[Message, ...]:
    """Return ``turns`` with a stand-in for each content. If ``plain``, they have nothing else;
    otherwise those without content stay without it."""
    return tuple(
        Message(turn.role, f"quern-turn-{at}.")
        if plain
        else replace(turn, content=turn.content and f"quern-turn-{at}.")
        for at, turn in enumerate(turns)
    )


def find_frame(turns: Sequence[Message], prompt: str, tail: str, place: str) -> Frame:
    """Return the frame of stand-ins ``turns`` in the ``prompt`` that a template made of them, with
    the ``tail`` that it writes after an answer.

    Raises :class:`PromptError`, naming ``place``, where the template leaves out a turn.
    """
    for turn in turns:
        if turn.content not in prompt:
            raise PromptError(
                f"the chat template leaves out the {turn.role} turn: the model would not see it",
                "write its text into another turn, or give a chat_template that has it",
                place,
            )
    texts = "|".join(re.escape(turn.content) for turn in turns if turn.content)
    return Frame(tuple(re.split(texts or r"(?!)", prompt)), tail)
