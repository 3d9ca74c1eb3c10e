"""Reads the output of the ``float_reference`` pass: logits and answers of an unquantized export, or
the reason why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.contract.step import Inputs

if TYPE_CHECKING:
    from pipeline.evaluation.scores import Answers
    from pipeline.onnx.reference import Reference

ROLE = "float_reference"

REASON = "not_exported"
"""Name of the metric that says why there is no export; absent if there is one."""


def float_logits(inputs: Inputs) -> Reference | None:
    """Return the export's logits for the reference's rows; ``None`` if there is no export."""
    from pipeline.onnx.reference import Reference

    return Reference.load(inputs[ROLE]) if not why_no_export(inputs) else None


def float_answers(inputs: Inputs) -> Answers | None:
    """Return the export's answers; ``None`` if there is no export, or no held-out data."""
    from pipeline.evaluation.scores import ANSWERS_FILE, Answers

    if why_no_export(inputs) or not (inputs[ROLE] / ANSWERS_FILE).is_file():
        return None
    return Answers.load(inputs[ROLE])


def is_sought(inputs: Inputs) -> bool:
    """Return whether a pass of this build makes an export where it can; none does for a model that
    was built elsewhere."""
    return ROLE in inputs.paths


def why_no_export(inputs: Inputs) -> str:
    """Return why there is no export; empty if there is one."""
    if not is_sought(inputs):
        return "no pass of this build makes a float export"
    return str(inputs.metrics.get(ROLE, {}).get(REASON, ""))
