"""The tokens that texts of rows may not hold: those that only a template writes.

A tokenizer reads them wherever they stand, so that in the text of a row they would end a turn.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from pipeline.data.frame import Frame


@dataclass(frozen=True)
class ControlTokens:
    """Tokens beside the vocabulary of texts, by the text that a tokenizer takes for them."""

    special: Mapping[str, int]
    """Those that the tokenizer calls special, but for the one that stands for what it lacks."""
    added: Mapping[str, int]
    """Those, and others that were added and are not blank: ``<think>``, or whole words."""
    ends: AbstractSet[int]
    """The beginning and the end of a sequence."""
    _patterns: dict[frozenset[str], re.Pattern[str]] = field(default_factory=dict)

    def in_question(self, frame: Frame | None) -> frozenset[str]:
        """Return what a question may not hold: what is special, and what stands around turns."""
        around = "" if frame is None else frame.around
        return frozenset(self.special) | {token for token in self.added if token in around}

    def in_answer(self, frame: Frame) -> frozenset[str]:
        """Return what an answer may not hold: what begins or ends a turn or a sequence. Other
        tokens, such as those that call a tool, are for the model to say."""
        turns = {
            text
            for text, token in self.special.items()
            if text in frame.around or token in self.ends
        }
        return frozenset(turns) | {token for token in self.added if token in frame.tail}

    def tokens_in(
        self, text: str, tokens: frozenset[str], encode: Callable[[str], Sequence[int]]
    ) -> Iterator[str]:
        """Yield those of ``tokens`` that the tokenizer finds in ``text``."""
        if tokens not in self._patterns:
            self._patterns[tokens] = any_of(tokens)
        found = self._patterns[tokens].findall(text)
        ids = frozenset(encode(text)) if found else frozenset()
        yield from (token for token in found if self.added[token] in ids)


def any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern for any of ``texts``, the longest where several begin."""
    return re.compile("|".join(map(re.escape, sorted(texts, key=len, reverse=True))) or r"(?!)")


def control_tokens(
    added: Mapping[int, object], special: Iterable[int], unknown: int | None, ends: AbstractSet[int]
) -> ControlTokens:
    """Return the control tokens among the ``added`` tokens of a tokenizer.

    ``<unk>`` is none: it only says that something was left out. Neither are blanks.
    """
    special = frozenset(special)
    texts = {
        str(token): number
        for number, token in added.items()
        if number != unknown and str(token).strip()
    }
    named = {
        text: number
        for text, number in texts.items()
        if number in special or getattr(added[number], "special", False)
    }
    return ControlTokens(named, texts, ends)
