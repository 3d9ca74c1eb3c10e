"""Fine-tunes with a Kronecker product adapter."""

from __future__ import annotations

from pipeline.passes.adapter import AdapterPass
from pipeline.training.lycoris_params import LokrParams


class Pass(AdapterPass[LokrParams]):
    """Train a LoKr adapter on the training part; the held-out part is not touched."""

    Params = LokrParams
