"""The rows of a step as a model is trained on them, and what a person should see of them."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.contract.errors import StepError
from pipeline.contract.step import Inputs
from pipeline.data.look import lengths_of, look
from pipeline.data.parts import parts_of
from pipeline.data.refusals import Refusals
from pipeline.data.room import require_room
from pipeline.data.split import Parts
from pipeline.data.tokenize import Codec, Tokenized
from pipeline.data.trained_view import TrainedView, samples_of
from pipeline.onnx.checkpoint import Checkpoint
from pipeline.training.training_rows import RowLimits, training_rows


class PreparedRows(NamedTuple):
    """Training sequences, and what is shown of the rows."""

    train: Tokenized
    validation: Tokenized
    view: TrainedView


def prepare_rows(inputs: Inputs, codec: Codec, limits: RowLimits, every: int = 1) -> PreparedRows:
    """Encode the rows of all parts, of each only one of ``every`` so many; warn of what is odd.

    Raises :class:`StepError` with all that the model could not be trained on or asked.
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
    refused = Refusals()
    with refused.collected():
        train = training_rows("training", some.train, codec, data.spec, limits, inputs.report)
    with refused.collected():
        validation = training_rows(
            "validation", some.validation, codec, data.validation_spec, limits, inputs.report
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
