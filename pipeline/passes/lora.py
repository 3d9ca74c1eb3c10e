"""Fine-tunes with a low-rank adapter."""

from __future__ import annotations

from pipeline.passes.adapter import AdapterPass
from pipeline.training.lora_params import LoraParams


class Pass(AdapterPass[LoraParams]):
    """Train a LoRA adapter on the training part; the held-out part is not touched."""

    Params = LoraParams
