"""Turns a part of the data set into training sequences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

from pipeline.contract.data_spec import DataSpec, Sequences
from pipeline.contract.errors import StepError
from pipeline.contract.step import Reporter
from pipeline.data.examples import Example
from pipeline.data.problems import named
from pipeline.data.sequences import make_sequences
from pipeline.data.tokenize import Codec, Tokenized, require_usable, tokenize


class RowLimits(Protocol):
    """How long a row may be, and what becomes of a longer one."""

    @property
    def max_length(self) -> int:
        """Return the most tokens of a row."""

    @property
    def too_long(self) -> Literal["drop", "cut", "error"]:
        """Return what becomes of a longer one (see :func:`pipeline.data.tokenize.tokenize`)."""


def training_rows(
    part: str,
    examples: Sequence[Example],
    codec: Codec,
    spec: DataSpec,
    params: RowLimits,
    report: Reporter,
    path: Path | None = None,
) -> Tokenized:
    """Return ``examples`` as sequences, written to a file at ``path`` if one is given; warns about
    those that were cut or left out.

    Raises :class:`StepError` with all rows that are refused, and if there are examples and none of
    them can be used.
    """
    if spec.sequences is not None:
        require_usable(examples, codec)
        rows = _sequences(part, examples, codec, spec.sequences, report, path)
    else:
        rows = _single(part, examples, codec, params, report, path)
    _warn_of_marks(part, examples, codec, report)
    return rows


def token_count(rows: Tokenized) -> int:
    """Return the total number of tokens of all sequences."""
    return sum(rows.rows.lengths)


def _sequences(
    part: str,
    examples: Sequence[Example],
    codec: Codec,
    spec: Sequences,
    report: Reporter,
    path: Path | None,
) -> Tokenized:
    sequences = make_sequences(examples, codec, spec, path)
    if examples and not sequences.rows:
        short = "has fewer than length tokens, or " if spec.drop_short else ""
        raise StepError(
            f"every {part} row {short}has no answer within length ({spec.length} tokens)",
            "change length in sequences",
            "bad_input",
        )
    if spec.is_joined and any(length < spec.length for length in sequences.rows.lengths):
        report.warn(
            f"the {part} rows joined have {token_count(sequences)} tokens, which do not fill one "
            f"sequence of {spec.length}; they make one shorter sequence"
        )
    if sequences.shortened:
        report.warn(
            f"{sequences.shortened} of {len(examples)} {part} rows are cut to fit sequences"
        )
    if sequences.left_out and spec.count is None:
        report.warn(f"{sequences.left_out} of {len(examples)} {part} rows are in no sequence")
    return sequences


def _single(
    part: str,
    examples: Sequence[Example],
    codec: Codec,
    params: RowLimits,
    report: Reporter,
    path: Path | None,
) -> Tokenized:
    sequences = tokenize(examples, codec, params.max_length, params.too_long, path)
    if sequences.left_out:
        report.warn(
            f"{sequences.left_out} of {len(examples)} {part} rows are longer than max_length "
            f"({params.max_length} tokens) and are left out: {named(sequences.too_long)}"
        )
    if sequences.long_answers:
        report.warn(
            f"{len(sequences.long_answers)} of {len(examples)} {part} rows have an answer that "
            f"alone is longer than max_length ({params.max_length} tokens): "
            f"{named(sequences.long_answers)}"
        )
    if sequences.shortened:
        report.warn(
            f"{sequences.shortened} of {len(examples)} {part} rows lost the beginning of their "
            f"prompt to fit max_length ({params.max_length} tokens)"
        )
    if examples and not sequences.rows:
        raise StepError(
            f"every {part} row is longer than max_length ({params.max_length} tokens)",
            "raise max_length",
            "bad_input",
        )
    return sequences


def _warn_of_marks(part: str, examples: Sequence[Example], codec: Codec, report: Reporter) -> None:
    """Warn of texts that hold what begins or ends a turn, as ordinary text or in a text that is
    learnt as it stands."""
    marked = [
        f"{example.place} ({mark})"
        for example in examples
        if (mark := codec.plain_mark_in(example))
    ]
    if marked:
        report.warn(
            f"{len(marked)} of {len(examples)} {part} rows hold what the chat template writes "
            f"around turns, and the model cannot tell the two apart: {named(marked)}"
        )
    left_out = [
        f"{example.place} ({items[0].path})"
        for example in examples
        if (items := codec.unread(example))
    ]
    if left_out:
        report.warn(
            f"{len(left_out)} of {len(examples)} {part} rows have what the chat template writes of "
            "a last turn and leaves out of earlier ones, as it will where the model is asked: "
            f"{named(left_out)}"
        )
    controls = [
        f"{example.place} ({token})"
        for example in examples
        if (token := codec.raw_control(example))
    ]
    if controls:
        report.warn(
            f"{len(controls)} of {len(examples)} {part} rows are texts with tokens that begin or "
            f"end turns, which are learnt as such: {named(controls)}"
        )
