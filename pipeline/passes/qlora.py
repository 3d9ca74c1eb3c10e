"""Fine-tunes with a low-rank adapter over a 4-bit base."""

from __future__ import annotations

from pipeline.passes.adapter import AdapterPass
from pipeline.training.four_bit_params import QloraParams


class Pass(AdapterPass[QloraParams]):
    """Train a LoRA adapter over the base quantized by bitsandbytes."""

    Params = QloraParams
