"""Encodes examples as token ids, with the tokenizer's chat template and loss on the completion.

Imports no ML library itself; it works on a loaded tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pipeline.data.examples import Example
from pipeline.data.rendering import (
    ANY_ANSWER,
    PromptError,
    RenderedAnswer,
    find_answer,
    with_fixed_date,
)
from pipeline.data.tokens import IGNORED, Tokens
from pipeline.process.deadline import time_limit

_RENDERING_SECONDS = 10
"""A chat template takes milliseconds for a conversation; one that never ends is stopped."""


class Tokenizer(Protocol):
    """The part of ``transformers.PreTrainedTokenizerBase`` that is used."""

    chat_template: str | None
    bos_token_id: int | None
    eos_token_id: int | None
    all_special_ids: list[int]
    added_tokens_decoder: Mapping[int, object]

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Return the token ids of ``text``."""

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool) -> str:
        """Return the text of ``token_ids``."""

    def apply_chat_template(
        self,
        conversation: list[dict[str, str]],
        *,
        chat_template: str | None,
        add_generation_prompt: bool,
        tokenize: bool,
    ) -> str:
        """Return the conversation as one text."""


@dataclass(frozen=True)
class Tokenized:
    """Training sequences, and how many rows were shortened or left out because of their length."""

    rows: list[Tokens]
    used: int
    """Number of rows in the sequences."""
    shortened: int
    """Number of rows that lost tokens; a completion loses none unless the config asks for it."""
    left_out: int
    """Number of rows in no sequence."""


class Codec:
    """Converts text to token ids and back, the same way for training and every evaluation.

    A chat example goes through the example's chat template or the tokenizer's own; what is learnt
    is what the template renders after the prompt, from a block that it writes before the answer
    (``<think>`` for Qwen3) to the token with which it ends a turn (``<|end|>`` for Phi-3). A raw
    example ends with the tokenizer's end-of-sequence token. An example of token ids stays as it is.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        # Phi-3's <|end|> is an added token that transformers 5 does not count as special.
        self._special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}

    def prompt_ids(self, example: Example) -> list[int]:
        """Return the ids of the prompt, up to where the model begins to answer.

        Raises :class:`PromptError` if the chat template is missing or rejects the messages.
        """
        if example.tokens is not None:
            return list(example.tokens.ids[: example.tokens.answer.start])
        if not example.chat:
            ids = self._encode(self._prompt_text(example), special=True)
            return ids or [self._start()]
        return self._encode(self._prompt_text(example)) or [self._start()]

    def completion_ids(self, text: str, example: Example) -> list[int]:
        """Return the ids of the answer ``text`` to ``example``, including its end token.

        They are the ids of the whole conversation after those of the prompt. If the tokenizer joins
        the end of the prompt and the beginning of the answer into one token, the answer is encoded
        by itself, as it would be when generated. Raises :class:`PromptError` where the template
        does not render the answer.
        """
        if example.tokens is not None:
            return list(example.tokens.ids[example.tokens.answer])
        before = self._prompt_text(example)
        if not example.chat:
            return [*self._ids_after(before, text, special=True), self._end_of_sequence()]
        rendered = self._rendered(example, text)
        return [*self._ids_after(before, rendered.generated), *self._ending(rendered.tail)]

    def answer_text(self, ids: Sequence[int], example: Example) -> str:
        """Return the answer that a model gave with ``ids``: their text without special tokens, and
        without the block that the chat template writes before an answer."""
        text = self.decode(ids)
        if example.tokens is not None or not example.chat:
            return text
        before_answer = self.decode(self._encode(self._rendered(example, ANY_ANSWER).before_answer))
        return text.removeprefix(before_answer) if before_answer else text

    def plain_ids(self, example: Example) -> tuple[list[int], list[int]]:
        """Return the ids of prompt and completion of a raw example, without any special token."""
        before = self._prompt_text(example)
        prompt = self._encode(before)
        ids = self._encode(before + example.completion)
        together = ids[: len(prompt)] == prompt
        return prompt, ids[len(prompt) :] if together else self._encode(example.completion)

    def text_ids(self, text: str) -> list[int]:
        """Return the ids of ``text`` alone, without any special token."""
        return self._encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ``ids`` without special tokens."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def _prompt_text(self, example: Example) -> str:
        if example.chat:
            return self._render(example, None)
        return "".join(turn.content for turn in example.prompt)

    def _render(self, example: Example, answer: str | None) -> str:
        template = example.chat_template or self.tokenizer.chat_template
        if not template:
            raise PromptError("the tokenizer has no chat template; set chat = false for raw text")
        turns = [{"role": turn.role, "content": turn.content} for turn in example.prompt]
        if answer is not None:
            turns.append({"role": "assistant", "content": answer})
        try:
            with time_limit(_RENDERING_SECONDS):
                return self.tokenizer.apply_chat_template(
                    turns,
                    chat_template=with_fixed_date(template, example.chat_date),
                    add_generation_prompt=answer is None,
                    tokenize=False,
                )
        except Exception as error:  # whatever a template's own Jinja code raises
            raise PromptError(f"the chat template refuses {example.place}: {error}") from error

    def _rendered(self, example: Example, answer: str) -> RenderedAnswer:
        return find_answer(
            self._prompt_text(example),
            self._render(example, ANY_ANSWER),
            self._render(example, answer),
            example.place,
        )

    def _ids_after(self, before: str, text: str, special: bool = False) -> list[int]:
        """Return the ids of ``text`` where it follows ``before``."""
        prompt = self._encode(before, special=special)
        ids = self._encode(before + text, special=special)
        return ids[len(prompt) :] if ids[: len(prompt)] == prompt else self._encode(text)

    def _ending(self, tail: str) -> list[int]:
        """Return what ends an answer: the ids of ``tail`` up to its first special token."""
        ids = self._encode(tail)
        for number, token in enumerate(ids, start=1):
            if token in self._special:
                return ids[:number]
        return [self._end_of_sequence()]

    def _end_of_sequence(self) -> int:
        if self.tokenizer.eos_token_id is None:
            raise PromptError("the tokenizer has no end-of-sequence token")
        return self.tokenizer.eos_token_id

    def _start(self) -> int:
        start = self.tokenizer.bos_token_id
        return self._end_of_text() if start is None else start

    def _end_of_text(self) -> int:
        if self.tokenizer.eos_token_id is None:
            raise PromptError("the tokenizer has no token to begin a text with")
        return self.tokenizer.eos_token_id

    def _encode(self, text: str, special: bool = False) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=special))


def tokenize(
    examples: Sequence[Example],
    codec: Codec,
    max_length: int,
    too_long: Literal["drop", "cut", "error"] = "drop",
) -> Tokenized:
    """Encode training rows of at most ``max_length`` tokens, each a sequence by itself.

    Only completions carry loss, unless the example says otherwise. A row that is too long is left
    out (``drop``), loses the beginning of its prompt (``cut``; a row whose completion alone is too
    long is left out) or raises ``ValueError`` with its line (``error``).
    """
    rows: list[Tokens] = []
    shortened = left_out = 0
    for example in examples:
        row, prompt = encode(example, codec)
        over = len(row.ids) - max_length
        if over > 0:
            if too_long == "error":
                raise ValueError(
                    f"{example.place} has {len(row.ids)} tokens, max_length is {max_length}"
                )
            if too_long == "drop" or over >= prompt:
                left_out += 1
                continue
            shortened += 1
            row = Tokens(row.ids[over:], row.labels[over:])
        rows.append(row)
    return Tokenized(rows, len(rows), shortened, left_out)


def encode(example: Example, codec: Codec) -> tuple[Tokens, int]:
    """Return the tokens of the row, and the number of them that belong to the prompt."""
    if example.tokens is not None:
        return example.tokens, example.tokens.answer.start
    prompt = codec.prompt_ids(example)
    return joined(prompt, codec.completion_ids(example.completion, example), example), len(prompt)


def joined(prompt: Sequence[int], completion: Sequence[int], example: Example) -> Tokens:
    """Return prompt and completion as one row; the prompt carries loss only for ``learn_all``."""
    before = prompt if example.learn_all else [IGNORED] * len(prompt)
    return Tokens((*prompt, *completion), (*before, *completion))


def pack(rows: Sequence[Tokens], max_length: int) -> list[list[Tokens]]:
    """Pack rows into bins of at most ``max_length`` tokens (first-fit decreasing).

    Deterministic. The rows of a bin stay separate sequences for the attention mask.
    """
    bins: list[list[Tokens]] = []
    room: list[int] = []
    for row in sorted(rows, key=lambda row: -len(row.ids)):
        size = len(row.ids)
        index = next((at for at, free in enumerate(room) if free >= size), None)
        if index is None:
            bins.append([row])
            room.append(max_length - size)
        else:
            bins[index].append(row)
            room[index] -= size
    return bins
