"""Fine-tunes with a low-rank adapter that begins as what 4 bits lose."""

from __future__ import annotations

from pipeline.passes.adapter import AdapterPass
from pipeline.training.four_bit_params import LoftqParams


class Pass(AdapterPass[LoftqParams]):
    """Train a LoRA adapter over a 4-bit base, both fitted to the weights before the first step."""

    Params = LoftqParams
