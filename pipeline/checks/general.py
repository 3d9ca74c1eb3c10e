"""Checks, where no row is held out, that fine-tuning left what the model could do besides."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from pipeline.checks._general import MAX_INCREASE, general_verdicts
from pipeline.checks.base import BaseCheck, Outcome
from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind
from pipeline.contract.roles import Role
from pipeline.contract.step import Inputs
from pipeline.evaluation.general import Reading


class GeneralParams(Frozen):
    """The limit. Where rows are held out, it is that of the ``quality`` check."""

    max_general_perplexity_increase: float = Field(default=MAX_INCREASE, ge=0)
    """By which share the perplexity of plain English, a text that comes with Quern, may exceed the
    base model's after fine-tuning. Not judged where the base itself cannot read it."""


class Check(BaseCheck[GeneralParams]):
    """Hold the tuned model against its base by how they read plain English. It runs where a model
    is trained and nothing is held out; else ``quality`` does the same with the answers."""

    Params = GeneralParams
    needs: ClassVar[tuple[Role, ...]] = ("base_reading", "tuned_reading")
    optional_needs: ClassVar[tuple[Role, ...]] = ()
    accepts: ClassVar[tuple[Kind, ...]] = ("onnx", "checkpoint", "adapter")
    stands_in_for: ClassVar[str] = "quality"

    def run(self, inputs: Inputs, params: GeneralParams) -> Outcome:
        """Compare the two readings."""
        from pipeline.verdicts.verdicts import unverified

        base, tuned = (Reading.load(inputs[f"{name}_reading"]) for name in ("base", "tuned"))
        verdicts = general_verdicts(base, tuned, params.max_general_perplexity_increase)
        if not verdicts:
            why = "the base model cannot read plain English, and has nothing to lose"
            verdicts = (unverified("general_perplexity", why),)
        readings = {"base": base, "tuned": tuned}
        figures = {name: one.perplexity for name, one in readings.items() if one is not None}
        return Outcome(verdicts, {"figures": {**figures}})
