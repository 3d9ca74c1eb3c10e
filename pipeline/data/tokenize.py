"""Encodes examples as token ids, with the tokenizer's chat template and loss on the completion.

Imports no ML library itself; it works on a loaded tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, groupby, islice, takewhile
from operator import itemgetter
from pathlib import Path
from typing import Literal, Protocol

from pydantic import JsonValue

from pipeline.data.chat import ANSWERING, Message
from pipeline.data.controls import any_of, control_tokens
from pipeline.data.examples import Example
from pipeline.data.frame import Frame, find_frame, stand_ins
from pipeline.data.load import texts_in
from pipeline.data.refusals import PromptError, Refusals, TemplateEndless
from pipeline.data.rendering import (
    ANY_ANSWER,
    RenderedAnswer,
    find_answer,
    with_fixed_date,
)
from pipeline.data.template_time import template_time
from pipeline.data.token_rows import TokenRows
from pipeline.data.tokens import IGNORED, Tokens
from pipeline.data.unread import Unread, shape_of, unread

_AT_ONCE = 256
"""Rows that are encoded at once."""
_ANY_TEXT = "0"
_ANY_TURN = Message(ANSWERING, ANY_ANSWER)


class Tokenizer(Protocol):
    """The part of ``transformers.PreTrainedTokenizerBase`` that is used."""

    chat_template: str | None
    bos_token_id: int | None
    eos_token_id: int | None
    unk_token_id: int | None
    all_special_ids: list[int]
    added_tokens_decoder: Mapping[int, object]

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Return the token ids of ``text``."""

    def __call__(
        self, text: list[str], *, add_special_tokens: bool
    ) -> Mapping[str, list[list[int]]]:
        """Return the ``input_ids`` of several texts, which may be encoded on several cores."""

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool) -> str:
        """Return the text of ``token_ids``."""

    def apply_chat_template(
        self,
        conversation: list[dict[str, JsonValue]],
        *,
        tools: list[JsonValue] | None,
        chat_template: str | None,
        add_generation_prompt: bool,
        tokenize: bool,
    ) -> str:
        """Return the conversation as one text."""


@dataclass(frozen=True)
class Tokenized:
    """Training sequences, and how many rows were shortened or left out because of their length."""

    rows: TokenRows
    used: int
    """Number of rows in the sequences."""
    shortened: int
    """Number of rows that lost tokens; a completion loses none unless the config asks for it."""
    left_out: int
    """Number of rows in no sequence."""
    too_long: tuple[str, ...] = ()
    """Places of rows that were left out because of their length."""
    long_answers: tuple[str, ...] = ()
    """Places of rows whose answer alone is too long, so that it cannot be learnt as a whole."""
    lengths: tuple[int, ...] = ()
    """Tokens of each row before anything was cut, if each row is a sequence."""


@dataclass(frozen=True)
class _Framed:
    """What a chat template's frame means for the texts of turns."""

    asked: frozenset[str]
    """Tokens that no question may hold."""
    answered: frozenset[str]
    """Tokens that no answer may hold."""
    marks: Sequence[str]
    """What the template writes around turns as ordinary text."""

    def banned(self, in_answer: bool) -> frozenset[str]:
        return self.answered if in_answer else self.asked


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
        ends = (tokenizer.bos_token_id, tokenizer.eos_token_id)
        self._controls = control_tokens(
            tokenizer.added_tokens_decoder,
            tokenizer.all_special_ids,
            tokenizer.unk_token_id,
            {token for token in ends if token is not None},
        )
        self._banned_in_text = self._controls.in_question(None)
        self._frames: dict[object, _Framed] = {}
        self._unread: dict[object, tuple[Unread, ...]] = {}
        self._texts: dict[object, str] = {}
        self._ids: dict[str, list[int]] = {}

    @contextmanager
    def ahead(self, examples: Sequence[Example]) -> Iterator[None]:
        """Render and encode ``examples`` at once, on all cores: in the context, what is asked of
        them is known. What is wrong with one is said when it is asked for."""
        texts: dict[str, None] = {}
        try:
            for example in examples:
                try:
                    texts.update(dict.fromkeys(self._parts_ahead(example)))
                except TemplateEndless:  # the next one would take as long
                    break
                except PromptError:
                    continue
            if texts:
                found = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
                self._ids = dict(zip(texts, found, strict=True))
            yield
        finally:
            self._texts, self._ids = {}, {}

    def _parts_ahead(self, example: Example) -> Iterator[str]:
        """Yield the texts of which the ids of ``example`` are made, and keep what is rendered."""
        if example.tokens is not None:
            return
        if not example.chat:
            before = self._prompt_text(example)
            yield before
            yield before + example.completion
            return
        template = self._template(example)
        with _refusing(example.place):
            for answer in (None, _ANY_TURN, example.answer):
                turns = example.prompt if answer is None else (*example.prompt, answer)
                text = self._applied(template, example, turns, asks=answer is None)
                self._texts[_rendering(example, answer)] = text
        before, rendered = self._prompt_text(example), self._rendered(example, example.completion)
        yield before
        yield before + rendered.generated
        yield rendered.tail

    def prompt_ids(self, example: Example) -> list[int]:
        """Return the ids of the prompt, up to where the model begins to answer.

        Raises :class:`PromptError` if the chat template is missing or rejects the messages, if it
        leaves one of them out, and if a text of the row holds a token that only the template may
        write.
        """
        if example.tokens is not None:
            return list(example.tokens.ids[: example.tokens.answer.start])
        refused = Refusals()
        refused.add(self.problems(example))
        refused.require_none()
        if not example.chat:
            ids = [*self._before_text, *self._encode(self._prompt_text(example))]
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
            return [*self._ids_after(before, text), self._end_of_sequence()]
        rendered = self._rendered(example, text)
        return [*self._ids_after(before, rendered.generated), *self._ending(rendered.tail)]

    def answer_text(self, ids: Sequence[int], example: Example) -> str:
        """Return the answer that a model gave with ``ids``: their text without special tokens, and
        without the block that the chat template writes before an answer."""
        text = self.decode(ids)
        before_answer = self.decode(self._encode(self.block_before(example)))
        return text.removeprefix(before_answer) if before_answer else text

    @property
    def added(self) -> Iterable[str]:
        """The texts that the tokenizer takes for a token of their own wherever they stand."""
        return self._controls.added

    def block_before(self, example: Example) -> str:
        """Return what the chat template writes between the prompt of ``example`` and any answer."""
        if example.tokens is not None or not example.chat:
            return ""
        any_answer = self._render(example, _ANY_TURN)
        prompt = self._prompt_text(example)
        return find_answer(prompt, any_answer, any_answer, example.place).before_answer

    def pieces(self, row: Tokens) -> list[tuple[str, bool]]:
        """Return the text of ``row`` in pieces, special tokens included, each with whether it is
        learnt."""
        learnt = [label != IGNORED for label in row.labels]
        runs = groupby(zip(row.ids, learnt, strict=True), key=itemgetter(1))
        return [
            (
                self.tokenizer.decode([token for token, _ in run], skip_special_tokens=False),
                is_learnt,
            )
            for is_learnt, run in runs
        ]

    def problems(self, example: Example) -> Iterator[PromptError]:
        """Yield what is wrong with the texts of a row.

        That is a token that only the template may write: a turn would end in the middle of a text.
        In an answer these are the tokens around turns; others, such as those that call a tool, are
        for the model to say. A text to continue may hold any: it is the user's own format. And it
        is what turns or tools hold and the template does not write.
        """
        try:
            token = self.control_in(example)
            unread = [item for item in self.unread(example) if not item.only_here]
        except PromptError as error:
            yield error
            return
        if token:
            yield PromptError(
                "for this model no text, but a token that only the chat template may write",
                "take it out of the row, or write it otherwise",
                example.place,
                f"holds {token!r}",
            )
        for item in unread:
            yield PromptError(
                "the chat template does not write it: the model would not see it",
                "take it out of the row, write it into a content, or give a chat_template that "
                "writes it",
                example.place,
                f"({item.path})",
            )

    def unread(self, example: Example) -> tuple[Unread, ...]:
        """Return what turns and tools hold beside their texts and the template does not write."""
        turns = (*example.prompt, example.answer)
        if not example.chat or not (example.tools or any(turn.others for turn in turns)):
            return ()
        shapes = tuple((turn.role, shape_of(dict(turn.others))) for turn in turns)
        like = (example.chat_template, shapes, shape_of(list(example.tools)))
        if like not in self._unread:
            self._unread[like] = tuple(
                unread(
                    turns,
                    example.tools,
                    lambda turns, tools: self._conversation(
                        replace(example, tools=tuple(tools)), turns
                    ),
                )
            )
        return self._unread[like]

    def control_in(self, example: Example) -> str:
        """Return the first token in a text of ``example`` that must not be there; empty if none."""
        if example.tokens is not None or not (example.chat or example.given):
            return ""
        if not example.chat:
            held = (self._tokens_in(text, self._banned_in_text) for text in example.given)
            return next(chain.from_iterable(held), "")
        framed = self._framed(example)
        held = (
            self._tokens_in(text, framed.banned(turn.role == ANSWERING))
            for turn in (*example.prompt, example.answer)
            for text in turn.texts
        )
        in_tools = (self._tokens_in(text, framed.asked) for text in texts_in(list(example.tools)))
        return next(chain.from_iterable((*held, *in_tools)), "")

    def raw_control(self, example: Example) -> str:
        """Return the first control token of a text to continue, which holds what it may; empty if
        there is none, and for other rows."""
        whole = not example.chat and not example.prompt and example.tokens is None
        return next(self._tokens_in(example.completion, self._banned_in_text), "") if whole else ""

    def plain_mark_in(self, example: Example) -> str:
        """Return the first mark of turns in a text of ``example`` that is ordinary text, so that a
        model cannot tell it from the template's; empty if there is none."""
        if not example.chat:
            return ""
        marks = self._framed(example).marks
        texts = [text for turn in (*example.prompt, example.answer) for text in turn.texts]
        return next((mark for mark in marks if any(mark in one for one in texts)), "")

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

    def whole_text_ids(self, text: str) -> list[int]:
        """Return the ids of ``text`` as one that begins here, with what the tokenizer puts before
        it."""
        return [*self._before_text, *self._encode(text)]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ``ids`` without special tokens."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def _tokens_in(self, text: str, tokens: frozenset[str]) -> Iterator[str]:
        return self._controls.tokens_in(text, tokens, self._encode)

    def _framed(self, example: Example) -> _Framed:
        """Return what holds for conversations like ``example``.

        Raises :class:`PromptError` where the template leaves out a turn.
        """
        like = (example.chat_template, *((turn.role, bool(turn.others)) for turn in example.prompt))
        if like not in self._frames:
            try:
                frame = self._frame(example, plain=True)
            except PromptError:
                # Some take a tool's turn only after a call, or with the number of one.
                if not any(turn.others for turn in example.prompt):
                    raise
                frame = self._frame(example, plain=False)
            self._frames[like] = _Framed(
                self._controls.in_question(frame),
                self._controls.in_answer(frame),
                sorted(frame.marks(any_of(self._controls.added))),
            )
        return self._frames[like]

    def _frame(self, example: Example, plain: bool) -> Frame:
        turns = stand_ins(example.prompt, plain)
        like = replace(example, prompt=turns, tools=() if plain else example.tools)
        tail = self._render(like, _ANY_TURN).rpartition(ANY_ANSWER)[2]
        return find_frame(turns, self._render(like, None), tail, example.place)

    @cached_property
    def _before_text(self) -> list[int]:
        """The ids that the tokenizer puts before a text that is no chat. What some put after it, an
        end of the sequence, would stand in the middle of prompt and answer."""
        plain = self._encode(_ANY_TEXT)
        whole = list(self.tokenizer.encode(_ANY_TEXT, add_special_tokens=True))
        starts = range(len(whole) - len(plain) + 1)
        begin = next((at for at in starts if whole[at : at + len(plain)] == plain), 0)
        return whole[:begin]

    def _prompt_text(self, example: Example) -> str:
        if example.chat:
            return self._render(example, None)
        return "".join(turn.content for turn in example.prompt)

    def _render(self, example: Example, answer: Message | None) -> str:
        """Return the conversation up to where the model begins to answer, or with ``answer``."""
        known = self._texts.get(_rendering(example, answer)) if self._texts else None
        if known is not None:
            return known
        turns = example.prompt if answer is None else (*example.prompt, answer)
        return self._conversation(example, turns, asks=answer is None)

    def _conversation(self, example: Example, turns: Sequence[Message], asks: bool = False) -> str:
        template = self._template(example)
        with _refusing(example.place):
            return self._applied(template, example, turns, asks)

    def _template(self, example: Example) -> str:
        template = example.chat_template or self.tokenizer.chat_template
        if not template:
            raise PromptError("the tokenizer has no chat template; set chat = false for raw text")
        return with_fixed_date(template, example.chat_date)

    def _applied(
        self, template: str, example: Example, turns: Sequence[Message], asks: bool
    ) -> str:
        return self.tokenizer.apply_chat_template(
            [turn.for_template for turn in turns],
            tools=list(example.tools) or None,
            chat_template=template,
            add_generation_prompt=asks,
            tokenize=False,
        )

    def _rendered(self, example: Example, answer: str) -> RenderedAnswer:
        return find_answer(
            self._prompt_text(example),
            self._render(example, _ANY_TURN),
            self._render(example, replace(example.answer, content=answer)),
            example.place,
        )

    def prompt_labels(self, example: Example, ids: Sequence[int]) -> list[int]:
        """Return the labels of a prompt's ``ids``: all for ``learn_all``, else the earlier turns
        that are learnt too, each up to the token that ends it."""
        if example.learn_all:
            return list(ids)
        labels = [IGNORED] * len(ids)
        if not any(turn.learnt for turn in example.prompt):
            return labels
        text = self._prompt_text(example)
        for at, turn in enumerate(example.prompt):
            if turn.learnt:
                before = replace(
                    example,
                    prompt=example.prompt[:at],
                    completion=turn.content,
                    answer_others=turn.others,
                )
                with_any = replace(
                    example, prompt=(*example.prompt[:at], _ANY_TURN, *example.prompt[at + 1 :])
                )
                found = find_answer(
                    self._prompt_text(before), self._prompt_text(with_any), text, example.place
                )
                begin = len(text) - len(found.tail) - len(found.generated)
                first = self._shared(text[:begin], ids)
                last = self._shared(text[: len(text) - len(found.tail)], ids)
                ending = self._ending(self._rendered(before, turn.content).tail)
                if list(ids[last : last + len(ending)]) == ending:
                    last += len(ending)
                labels[first:last] = ids[first:last]
        return labels

    def _shared(self, text: str, ids: Sequence[int]) -> int:
        """Return how many of ``ids`` the tokens of ``text`` are, which may end within a token."""
        pairs = zip(self._encode(text), ids, strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    def _ids_after(self, before: str, text: str) -> list[int]:
        """Return the ids of ``text`` where it follows ``before``."""
        prompt = self._encode(before)
        ids = self._encode(before + text)
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

    def _encode(self, text: str) -> list[int]:
        known = self._ids.get(text)
        return list(
            self.tokenizer.encode(text, add_special_tokens=False) if known is None else known
        )


@contextmanager
def _refusing(place: str) -> Iterator[None]:
    """Limit the time of a chat template, and refuse the row at ``place`` where it fails."""
    try:
        with template_time(place):
            yield
    except TemplateEndless:
        raise
    except Exception as error:  # whatever a template's own Jinja code raises
        raise PromptError(f"the chat template refuses it: {error}", place=place) from error


def _rendering(example: Example, answer: Message | None) -> object:
    """Return what tells renderings apart of examples that are there at the same time."""
    return id(example), answer is _ANY_TURN, None if answer is None else answer.content


def tokenize(
    examples: Sequence[Example],
    codec: Codec,
    max_length: int,
    too_long: Literal["drop", "cut", "error"] = "drop",
    path: Path | None = None,
) -> Tokenized:
    """Encode training rows of at most ``max_length`` tokens, each a sequence by itself; they are
    written to a file at ``path``, if one is given.

    Only completions carry loss, unless the example says otherwise. A row that is too long is left
    out (``drop``), loses the beginning of its prompt (``cut``; a row whose completion alone is too
    long is left out) or is refused (``error``). Raises :class:`StepError` with all that is refused.
    """
    rows = TokenRows(path=path)
    lengths: list[int] = []
    too_long_rows: list[str] = []
    long_answers: list[str] = []
    shortened = 0
    refused = Refusals()
    for example, row, prompt in encoded(examples, codec, refused):
        lengths.append(len(row.ids))
        over = len(row.ids) - max_length
        if over > 0:
            if too_long == "error":
                refused.add([_longer(example, len(row.ids), max_length)])
                continue
            if len(row.ids) - prompt > max_length:
                long_answers.append(example.place)
            if too_long == "drop" or over >= prompt:
                too_long_rows.append(example.place)
                continue
            shortened += 1
            row = Tokens(row.ids[over:], row.labels[over:])
        rows.append(row)
    refused.require_none()
    return Tokenized(
        rows,
        len(rows),
        shortened,
        len(too_long_rows),
        tuple(too_long_rows),
        tuple(long_answers),
        tuple(lengths),
    )


def encoded(
    examples: Iterable[Example], codec: Codec, refused: Refusals
) -> Iterator[tuple[Example, Tokens, int]]:
    """Yield each of ``examples`` with what :func:`encode` returns, but for those that are
    ``refused``."""
    left = iter(examples)
    while some := list(islice(left, _AT_ONCE)):
        with codec.ahead(some):
            for example in some:
                if refused.add(codec.problems(example)):
                    continue
                try:
                    row, prompt = encode(example, codec)
                except PromptError as error:
                    refused.add([error])
                else:
                    yield example, row, prompt


def require_usable(examples: Sequence[Example], codec: Codec) -> None:
    """Raise :class:`StepError` with all problems of the texts of ``examples``."""
    refused = Refusals()
    for example in examples:
        refused.add(codec.problems(example))
    refused.require_none()


def _longer(example: Example, length: int, max_length: int) -> PromptError:
    return PromptError(
        f"longer than max_length ({max_length} tokens)",
        'raise max_length, or set too_long = "drop" or "cut"',
        example.place,
        f"({length} tokens)",
    )


def encode(example: Example, codec: Codec) -> tuple[Tokens, int]:
    """Return the tokens of the row, and the number of them that belong to the prompt."""
    if example.tokens is not None:
        return example.tokens, example.tokens.answer.start
    prompt = codec.prompt_ids(example)
    completion = codec.completion_ids(example.completion, example)
    labels = codec.prompt_labels(example, prompt)
    return Tokens((*prompt, *completion), (*labels, *completion)), len(prompt)
