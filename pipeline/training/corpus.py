"""Training data from plain text: paragraphs, a tokenizer trained on them, token sequences."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.contract.errors import StepError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END_OF_TEXT, END_OF_TURN = "<|endoftext|>", "<|end|>"
ROLE_TOKENS = ("<|system|>", "<|user|>", "<|assistant|>")

# The chat template of microsoft/Phi-3-mini-4k-instruct.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"
)


def read_paragraphs(path: Path) -> list[str]:
    """Return the paragraphs of a text file, or of all ``.txt`` files below a folder, in order of
    their names. Raises :class:`StepError` if there is none, or one holds a control token."""
    files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
    paragraphs: list[str] = []
    for file in files:
        try:
            text = file.read_text("utf-8-sig")
        except UnicodeDecodeError as error:
            raise StepError(f"{file.name} is not UTF-8 text: {error}", cause="bad_input") from error
        parts = (" ".join(part.split()) for part in re.split(r"\n\s*\n", text))
        paragraphs.extend(part for part in parts if part)
    if not paragraphs:
        raise StepError("there is no text to learn from", cause="bad_input")
    for number, paragraph in enumerate(paragraphs, start=1):
        for token in (END_OF_TEXT, END_OF_TURN, *ROLE_TOKENS):
            if token in paragraph:
                raise StepError(
                    f"paragraph {number} holds {token}, which would be no text, but a token that "
                    f"ends or begins a turn: {paragraph[:80]!r}",
                    "take it out, or write it otherwise",
                    "bad_input",
                )
    return paragraphs


def train_tokenizer(
    paragraphs: Sequence[str], vocab_size: int, context_length: int
) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer with Phi-3's special tokens and chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT, END_OF_TURN, *ROLE_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(paragraphs, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TEXT,
        bos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        extra_special_tokens=[END_OF_TURN, *ROLE_TOKENS],
        model_max_length=context_length,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


class SequenceSource:
    """Draws training sequences of a fixed number of tokens: plain text, or text as a chat."""

    def __init__(
        self,
        paragraphs: Sequence[str],
        tokenizer: PreTrainedTokenizerFast,
        length: int,
        chat_share: float,
        seed: int,
    ) -> None:
        self._random = random.Random(seed)  # noqa: S311 - training order, not a secret
        self._length = length
        self._chat_share = chat_share
        end = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
        self._plain: list[list[int]] = []
        self._chats: list[list[int]] = []
        for paragraph in paragraphs:
            self._plain.append([*tokenizer.encode(paragraph, add_special_tokens=False), end])
            sentences = re.split(r"(?<=[.!?])[\"']?\s+", paragraph)
            for sentence, answer in pairwise(sentences):
                turns = [
                    {"role": "user", "content": sentence},
                    {"role": "assistant", "content": answer},
                ]
                text = tokenizer.apply_chat_template(turns, tokenize=False)
                self._chats.append(tokenizer.encode(text, add_special_tokens=False))

    def state(self) -> list[Any]:
        """Return what the next sequences depend on, as plain JSON."""
        version, internal, gauss = self._random.getstate()
        return [version, list(internal), gauss]

    def restore(self, state: list[Any]) -> None:
        """Draw what came after :meth:`state`."""
        version, internal, gauss = state
        self._random.setstate((version, tuple(internal), gauss))

    def draw(self) -> list[int]:
        """Return the next sequence: concatenated pieces, of which the first starts at random."""
        chat = bool(self._chats) and self._random.random() < self._chat_share
        pieces = self._chats if chat else self._plain
        first = self._random.choice(pieces)
        ids = list(first) if chat else first[self._random.randrange(len(first)) :]
        while len(ids) < self._length:
            ids += self._random.choice(pieces)
        return ids[: self._length]
