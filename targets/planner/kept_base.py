"""The step that quantizes the base of a training to 4 bits, which trainings share."""

from __future__ import annotations

from pipeline.run.registry import load_pass
from pipeline.training.params import FinetuneParams
from targets.config.chain import PassCall, kept_base_step

TYPE = "quantize_base"

SMALL_BASE = 500_000_000
"""Bytes of a checkpoint that a training quantizes itself: that takes seconds, and a step has files
to hash and to keep. What a step makes of unknown size counts as more."""


def kept_base_call(training: PassCall) -> PassCall | None:
    """Return the call of the ``quantize_base`` pass for ``training``; ``None`` for a pass that has
    no use for it.

    It has no more of its parameters than what the base in 4 bits depends on, so that a training
    with others finds it.
    """
    params = training.params
    kept = params.kept_base() if isinstance(params, FinetuneParams) else None
    if kept is None:
        return None
    return PassCall(
        name=kept_base_step(training.name),
        type_name=TYPE,
        implementation=load_pass(TYPE),
        params=kept,
    )
