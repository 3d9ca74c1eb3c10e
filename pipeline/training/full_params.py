"""Parameters of fine-tuning without an adapter. Free of any ML library."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from pipeline.contract.space import SpaceEstimate
from pipeline.training.loading import ModelLoading
from pipeline.training.params import TrainingLoopParams


class FullFinetuneParams(TrainingLoopParams, ModelLoading):
    """Fine-tuning of all weights, without an adapter. Weights, gradients and the two moments of
    Adam are in fp32: 16 bytes per weight, beside the activations."""

    learning_rate: float = Field(default=2e-5, gt=0)
    """Smaller than that of an adapter: every weight moves."""

    def writes(self, inputs: Mapping[str, SpaceEstimate]) -> SpaceEstimate | None:
        """Return the size of the checkpoint, which is that of the base."""
        return inputs.get("model")
