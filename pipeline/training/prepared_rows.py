"""The rows of a step as a model is trained on them, and what a person should see of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from pipeline.contract.errors import StepError
from pipeline.contract.frozen import Frozen
from pipeline.contract.step import Inputs
from pipeline.data.look import lengths_of, look
from pipeline.data.parts import parts_of
from pipeline.data.refusals import Refusals
from pipeline.data.room import require_room
from pipeline.data.split import Parts
from pipeline.data.token_rows import TokenRows
from pipeline.data.tokenize import Codec, Tokenized
from pipeline.data.trained_view import TrainedView, samples_of
from pipeline.onnx.checkpoint import Checkpoint
from pipeline.training.training_rows import RowLimits, training_rows

_TRAINING, _VALIDATION = "training.arrow", "validation.arrow"
"""Files of the rows that are kept in a folder."""


class PreparedRows(NamedTuple):
    """Training sequences, and what is shown of the rows."""

    train: Tokenized
    validation: Tokenized
    view: TrainedView


class _Counted(Frozen):
    """The figures of a part."""

    used: int
    shortened: int
    left_out: int


class _Kept(Frozen):
    """What is known of the rows that are kept in a folder, beside their tokens."""

    training: _Counted
    validation: _Counted
    view: TrainedView


def prepare_rows(
    inputs: Inputs, codec: Codec, limits: RowLimits, every: int = 1, folder: Path | None = None
) -> PreparedRows:
    """Encode the rows of all parts, of each only one of ``every`` so many; warn of what is odd.

    With a ``folder``, the rows are kept there (see :func:`keep_rows`). Raises :class:`StepError`
    with all that the model could not be trained on or asked.
    """
    parts = parts_of(inputs)
    data = inputs.data
    if data is None or not parts.train:
        raise StepError("there is no row to train on", "lower split.eval", "bad_input")
    seen = look(parts)
    for warning in seen.warnings:
        inputs.report.warn(warning)
    some = Parts(parts.train[::every], parts.validation[::every], parts.eval[::every])
    context = Checkpoint(inputs["model"]).context
    files = [folder and folder / name for name in (_TRAINING, _VALIDATION)]
    refused = Refusals()
    with refused.collected():
        train = training_rows(
            "training", some.train, codec, data.spec, limits, inputs.report, files[0]
        )
    with refused.collected():
        spec = data.validation_spec
        validation = training_rows(
            "validation", some.validation, codec, spec, limits, inputs.report, files[1]
        )
    with refused.collected():
        held_out = require_room(some.eval, codec, context)
    refused.require_none()
    lengths = {"training": train.lengths, "validation": validation.lengths, "held-out": held_out}
    view = TrainedView(
        look=seen,
        lengths=lengths_of({name: lengths[name] for name in seen.rows}),
        max_length=limits.max_length,
        context=context,
        samples=samples_of(some.train, codec),
        every=every,
    )
    return PreparedRows(train, validation, view)


def keep_rows(
    inputs: Inputs, codec: Codec, limits: RowLimits, folder: Path
) -> dict[str, JsonValue]:
    """Write the rows of :func:`prepare_rows` to ``folder``; return what else :func:`kept_rows`
    needs to give them back."""
    made = prepare_rows(inputs, codec, limits, folder=folder)
    for part in (made.train, made.validation):
        part.rows.close()
    kept = _Kept(training=_count(made.train), validation=_count(made.validation), view=made.view)
    return kept.model_dump(mode="json")


def kept_rows(folder: Path, known: Mapping[str, JsonValue]) -> PreparedRows:
    """Return the rows that :func:`keep_rows` wrote to ``folder``; they stay on disk."""
    kept = _Kept.model_validate(known)
    return PreparedRows(
        _stored(folder / _TRAINING, kept.training),
        _stored(folder / _VALIDATION, kept.validation),
        kept.view,
    )


def _count(part: Tokenized) -> _Counted:
    return _Counted(used=part.used, shortened=part.shortened, left_out=part.left_out)


def _stored(file: Path, counted: _Counted) -> Tokenized:
    return Tokenized(TokenRows.stored(file), counted.used, counted.shortened, counted.left_out)
