"""Makes training sequences of rows: line by line, or joined and cut, in order or at random.

The strategies are those of Microsoft Olive's text generation data (``TextGenStrategy``). Free of
any ML library: it works on token ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from pipeline.contract.data_spec import Sequences
from pipeline.data.examples import Example
from pipeline.data.token_rows import TokenRows
from pipeline.data.tokenize import Codec, Tokenized
from pipeline.data.tokens import IGNORED, Tokens

Drawn = tuple[Tokens, set[int]]
"""A sequence, and the indices of the rows in it."""


def make_sequences(
    examples: Sequence[Example], codec: Codec, spec: Sequences, path: Path | None = None
) -> Tokenized:
    """Return the training sequences of ``examples``, written to a file at ``path`` if one is given.

    If all joined rows do not fill one sequence, the result is one shorter sequence, so that a small
    data set can be trained on. If rows are left out, there may be no sequence at all.
    """
    source = _Rows(examples, codec, spec)
    sequences, used = TokenRows(path=path), set[int]()
    for sequence, rows in _STRATEGIES[spec.strategy](source, spec):
        sequences.append(sequence)
        used |= rows
    if spec.is_joined and not sequences and examples:
        sequence, used = source.joined_from(0).piece(0, None)
        sequences.append(sequence)
    shortened = len(used & source.cut)
    return Tokenized(sequences, len(used), shortened, len(examples) - len(used))


@dataclass
class _Joined:
    """Concatenated rows, with the row of each token."""

    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)

    def add(self, part: Tokens, row: int) -> None:
        self.ids += part.ids
        self.labels += part.labels
        self.owners += [row] * len(part.ids)

    def piece(self, begin: int, end: int | None, context: int = 0) -> Drawn:
        """Return the tokens from ``begin`` to ``end``; the first ``context`` carry no loss."""
        labels = [*([IGNORED] * context), *self.labels[begin + context : end]]
        return Tokens(tuple(self.ids[begin:end]), tuple(labels)), set(self.owners[begin:end])


class _Rows:
    """The rows as tokens, each encoded once, on first use."""

    def __init__(self, examples: Sequence[Example], codec: Codec, spec: Sequences) -> None:
        self._examples = examples
        self._codec = codec
        self._spec = spec
        self._rows: dict[int, Tokens] = {}
        self.cut: set[int] = set()
        """Indices of rows that lost tokens."""
        joiner = codec.text_ids(spec.joiner) if spec.joiner else []
        self._joiner = Tokens(tuple(joiner), tuple(joiner))

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Tokens:
        if index not in self._rows:
            self._rows[index] = self._encode(index)
        return self._rows[index]

    def line(self, index: int) -> Drawn | None:
        """Return one row as a sequence; ``None`` if it is too short or no token carries loss."""
        row, length = self[index], self._spec.length
        if len(row.ids) > length:
            self.cut.add(index)
            row = Tokens(row.ids[:length], row.labels[:length])
        short = self._spec.drop_short and len(row.ids) < length
        # The first token carries no loss: there is no token before it.
        if short or all(label == IGNORED for label in row.labels[1:]):
            return None
        return row, {index}

    def joined_from(self, begin: int, length: int | None = None) -> _Joined:
        """Return the concatenated rows from ``begin`` on: enough for ``length`` tokens, or all."""
        joined = _Joined()
        for index in range(begin, len(self)):
            if index > begin:
                joined.add(self._joiner, index)
            joined.add(self[index], index)
            if length is not None and len(joined.ids) >= length:
                break
        return joined

    def _encode(self, index: int) -> Tokens:
        example = self._examples[index]
        if example.chat:
            prompt = self._codec.prompt_ids(example)
            completion = self._codec.completion_ids(example.completion, example)
        else:
            prompt, completion = self._codec.plain_ids(example)
            if self._spec.special_tokens:
                begin, end = self._special("bos_token_id"), self._special("eos_token_id")
                # Where there is no prompt, the beginning is learnt like the rest of the text.
                prompt, completion = (
                    ([*begin, *prompt], completion) if prompt else ([], [*begin, *completion])
                )
                completion = [*completion, *end]
        labels = self._codec.prompt_labels(example, prompt)[: self._spec.prompt_length]
        trimmed = prompt[: self._spec.prompt_length], completion[: self._spec.completion_length]
        if [len(part) for part in trimmed] != [len(prompt), len(completion)]:
            self.cut.add(index)
        prompt, completion = trimmed
        return Tokens((*prompt, *completion), (*labels, *completion))

    def _special(self, name: str) -> list[int]:
        token = getattr(self._codec.tokenizer, name)
        return [] if token is None else [token]


def _line_by_line(rows: _Rows, spec: Sequences) -> Iterator[Drawn]:
    made = 0
    for index in range(len(rows)):
        if made == spec.count:
            return
        row = rows.line(index)
        if row is not None:
            made += 1
            yield row


def _line_by_line_random(rows: _Rows, spec: Sequences) -> Iterator[Drawn]:
    return _drawn(rows, spec, rows.line)


def _join(rows: _Rows, spec: Sequences) -> Iterator[Drawn]:
    return _pieces(rows, spec, step=spec.length)


def _join_sliding_window(rows: _Rows, spec: Sequences) -> Iterator[Drawn]:
    return _pieces(rows, spec, step=spec.stride or spec.length)


def _join_random(rows: _Rows, spec: Sequences) -> Iterator[Drawn]:
    def draw(begin: int) -> Drawn | None:
        joined = rows.joined_from(begin, spec.length)
        return joined.piece(0, spec.length) if len(joined.ids) >= spec.length else None

    return _drawn(rows, spec, draw)


def _drawn(rows: _Rows, spec: Sequences, draw: Callable[[int], Drawn | None]) -> Iterator[Drawn]:
    """Yield ``count`` sequences, each from a random row on. A sequence that is still too short
    after ``retries`` draws is left out."""
    random = Random(spec.seed)  # noqa: S311 - a reproducible choice, no secret
    for _ in range(spec.count or 0):
        for _ in range(spec.retries if len(rows) else 0):
            sequence = draw(random.randint(0, len(rows) - 1))
            if sequence is not None:
                yield sequence
                break


def _pieces(rows: _Rows, spec: Sequences, step: int) -> Iterator[Drawn]:
    """Yield pieces of all joined rows that begin ``step`` tokens apart.

    Each token carries loss only in the first piece with it. An incomplete last piece is left out.
    """
    joined = rows.joined_from(0)
    begins = range(0, len(joined.ids) - spec.length + 1, step)
    for begin in begins[: spec.count]:
        yield joined.piece(begin, begin + spec.length, spec.length - step if begin else 0)


_STRATEGIES: dict[str, Callable[[_Rows, Sequences], Iterator[Drawn]]] = {
    "line-by-line": _line_by_line,
    "line-by-line-random": _line_by_line_random,
    "join": _join,
    "join-random": _join_random,
    "join-sliding-window": _join_sliding_window,
}
