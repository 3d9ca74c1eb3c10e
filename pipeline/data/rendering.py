"""Where an answer stands in a conversation that a chat template has rendered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from pipeline.data.refusals import PromptError

ANY_ANSWER = "quern-answer"
"""An answer that no template writes by itself: all around it is the template's."""


_CLOCK = "strftime_now"
"""Function of transformers' chat templates that formats the current time."""
_CODES = "aAbBdHIjmMpSUwWxXyYcZ"
"""Format codes of C89's ``strftime``."""


@dataclass(frozen=True)
class RenderedAnswer:
    """The parts of a rendered conversation after its prompt."""

    before_answer: str
    """What the template writes before the answer, such as Qwen3's empty ``<think>`` block."""
    generated: str
    """What the model generates: :attr:`before_answer` and the answer, as rendered."""
    tail: str
    """What the template writes after the answer."""


def find_answer(prompt: str, any_answer: str, conversation: str, place: str) -> RenderedAnswer:
    """Return the parts of ``conversation``, a conversation rendered with its answer.

    ``prompt`` is the same conversation rendered up to where the model begins to answer, and
    ``any_answer`` with :data:`ANY_ANSWER` in place of the answer. Where the prompt ends with what
    the template leaves out once there is an answer (DeepSeek-R1's ``<think>``), the answer alone
    follows the prompt. Raises :class:`PromptError`, naming ``place``, where the template leaves
    the answer out or renders the conversation otherwise because of it.
    """
    before, separator, tail = any_answer.rpartition(ANY_ANSWER)
    begin = len(prompt) if any_answer.startswith(prompt) else len(before)
    end = len(conversation) - len(tail)
    if (
        not separator
        or end < begin
        or conversation[:begin] != any_answer[:begin]
        or conversation[end:] != tail
    ):
        raise PromptError(
            "the chat template renders the conversation otherwise because of its answer",
            "give the text as the model has to say it, or another chat_template",
            place,
        )
    before_answer = any_answer[begin : len(before)]
    answer = conversation[begin:end]
    return RenderedAnswer(before_answer if answer.startswith(before_answer) else "", answer, tail)


def reads_clock(template: str) -> bool:
    """Return whether the chat template ``template`` writes the current time."""
    return _CLOCK in template


def with_fixed_date(template: str, day: date) -> str:
    """Return the chat template ``template`` with ``day`` as its current time, at midnight.

    A macro of the template takes the place of transformers' ``strftime_now``: variables of a
    template can only hold plain data there. The line break after it is one that ``trim_blocks``
    removes, so all that follows is as before.
    """
    if not reads_clock(template):
        return template
    formatted = "".join(f"|replace('%{code}', '{day.strftime(f'%{code}')}')" for code in _CODES)
    macro = f"{{% macro {_CLOCK}(format) %}}{{{{ format{formatted} }}}}{{% endmacro %}}"
    return f"{macro}\n{template}"
