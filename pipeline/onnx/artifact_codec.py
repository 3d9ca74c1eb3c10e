"""Asks an artifact as a program does that uses ONNX Runtime GenAI: with the runtime's tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from pipeline.contract.errors import ArtifactError
from pipeline.data.examples import Example
from pipeline.data.rendering import reads_clock
from pipeline.data.template_time import template_time
from pipeline.data.tokenize import Codec
from pipeline.onnx.session import Session
from pipeline.process.deadline import cpu_limit

_ANY_TEXT = "a"
_CPU_SECONDS = 60
"""For one text. Patterns of a tokenizer can take time that doubles with each of its letters."""
_SHOWN = 8
"""Ids that a message shows, from the first difference on."""


class ArtifactCodec(Codec):
    """The :class:`Codec` of an artifact, whose prompts are what the runtime makes of them.

    The runtime renders a chat with the artifact's own template. It adds no beginning of a text
    (BOS) by itself, so that a raw prompt gets the one that the model was trained with. Answers are
    expected as transformers encodes them, since they are what the model learnt to say.
    """

    def __init__(self, tokenizer: Any, session: Session) -> None:
        super().__init__(tokenizer)
        self._runtime = session.tokenizer

    def prompt_ids(self, example: Example, more: str = "") -> list[int]:
        """Return the ids of the prompt, up to where the model begins to answer: those with which it
        was trained where the runtime cannot render the chat, which is a problem of its own.

        ``more`` is a text that the template would have the model say, and that is given to it.
        """
        try:
            return self._runtime_prompt(example, more)
        except ArtifactError:
            return super().prompt_ids(example)

    def prompt_problems(self, examples: Sequence[Example]) -> list[str]:
        """Return a problem for each example whose prompt has other ids than those with which
        transformers asks the model, and on which it was trained."""
        problems: list[str] = []
        for example in examples:
            try:
                problems += self._problems(example)
            except ArtifactError as error:
                problems.append(f"the prompt of {example.place}: {error}")
        return problems

    def _problems(self, example: Example) -> list[str]:
        asked = f"the prompt of {example.place}"
        expected = Codec.prompt_ids(self, example)
        problems = different(asked, self._runtime_prompt(example), expected)
        template = self._own_template(example)
        if template and reads_clock(template):
            # Asked and trained with a fixed date, which the runtime cannot be told: the two are
            # compared with today's.
            with template_time(example.place):
                today: Any = self.tokenizer.apply_chat_template(
                    [turn.for_template for turn in example.prompt],
                    tools=list(example.tools) or None,
                    chat_template=template,
                    add_generation_prompt=True,
                    tokenize=False,
                )
            found = runtime_ids(self._runtime, self._rendered_by_runtime(example))
            problems += different(f"{asked}, written today,", found, self.text_ids(today))
        return problems

    def _runtime_prompt(self, example: Example, more: str = "") -> list[int]:
        """Return the ids of the prompt; raise :class:`ArtifactError` if the runtime makes none."""
        trained = super().prompt_ids(example)
        if example.tokens is not None:
            return trained
        ids = runtime_ids(self._runtime, self._runtime_text(example) + more)
        return (ids if example.chat else [*self._before_text, *ids]) or trained

    def _own_template(self, example: Example) -> str | None:
        """Return the artifact's template if the runtime renders the prompt of ``example`` by it."""
        return self.tokenizer.chat_template if example.chat and not example.chat_template else None

    def _runtime_text(self, example: Example) -> str:
        template = self._own_template(example)
        if not template or reads_clock(template):
            return self._prompt_text(example)
        return self._rendered_by_runtime(example)

    def _rendered_by_runtime(self, example: Example) -> str:
        turns = [turn.for_template for turn in example.prompt]
        return chat_text(self._runtime, turns, tools=example.tools)


def beginning_of(folder: Path) -> list[int]:
    """Return the ids with which transformers begins every text for the artifact in ``folder``."""
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    if not file.is_file():
        return []
    encode = Tokenizer.from_file(str(file)).encode
    plain = list(encode(_ANY_TEXT, add_special_tokens=False).ids)
    ids = list(encode(_ANY_TEXT, add_special_tokens=True).ids)
    return ids[: next((at for at in range(len(ids)) if ids[at : at + len(plain)] == plain), 0)]


def runtime_ids(runtime: Any, text: str) -> list[int]:
    """Return the ids that the tokenizer ``runtime`` of ONNX Runtime GenAI makes of ``text``."""
    with cpu_limit(_CPU_SECONDS):
        return [int(token) for token in runtime.encode(text)]


def chat_text(
    runtime: Any,
    messages: Sequence[Mapping[str, JsonValue]],
    asks: bool = True,
    tools: Sequence[JsonValue] = (),
) -> str:
    """Return what ONNX Runtime GenAI's chat template makes of ``messages`` and ``tools``, up to
    where the model begins to answer if the conversation ``asks`` for that.

    Raises :class:`ArtifactError`.
    """
    shown = {"tools": json.dumps(list(tools))} if tools else {}
    try:
        with cpu_limit(_CPU_SECONDS):
            rendered: str = runtime.apply_chat_template(
                json.dumps(list(messages)), add_generation_prompt=asks, **shown
            )
    except Exception as error:  # the runtime's template engine raises RuntimeError and others
        why = str(error).splitlines()[0]  # the whole template follows, line by line
        raise ArtifactError(f"the runtime cannot apply the chat template: {why}") from error
    return rendered


def different(what: str, found: Sequence[int], expected: Sequence[int]) -> list[str]:
    """Return a problem that shows the first difference; none if there is no difference."""
    if found == expected:
        return []
    pairs = enumerate(zip(found, expected))  # noqa: B905 - one may end before the other
    same = min(len(found), len(expected))
    at = next((number for number, (ours, theirs) in pairs if ours != theirs), same)
    ours, theirs = list(found[at : at + _SHOWN]), list(expected[at : at + _SHOWN])
    return [f"{what} becomes {ours} from token {at} on, not {theirs}"]
