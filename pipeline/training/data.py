"""The parts of a step's data set."""

from __future__ import annotations

from pipeline.data.check import load_parts
from pipeline.data.split import Parts
from pipeline.passes.base import Inputs, StepError


def parts_of(inputs: Inputs) -> Parts:
    """Return training, validation and held-out part. Raises :class:`StepError` for broken data."""
    if inputs.data is None or inputs.data_path is None:
        raise StepError("this pass needs a data set", "add a [data.<name>] section", "bad_input")
    try:
        return load_parts(inputs.data_path, inputs.data.spec)
    except ValueError as error:
        raise StepError(f"data set {inputs.data.name}: {error}", cause="bad_input") from error
