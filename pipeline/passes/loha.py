"""Fine-tunes with a low-rank Hadamard product adapter."""

from __future__ import annotations

from pipeline.passes.adapter import AdapterPass
from pipeline.training.lycoris_params import LohaParams


class Pass(AdapterPass[LohaParams]):
    """Train a LoHa adapter on the training part; the held-out part is not touched."""

    Params = LohaParams
