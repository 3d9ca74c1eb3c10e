"""How far checkpoints answer from an adapter beside its base, in nats per token."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.warm_process import warm_output

SAME = 0.001
"""What rounding may make of the same weights, whatever kernels a CPU has."""
OTHER = 0.005
"""What other weights are apart at least."""


def measure_distances(
    python: Path, material: Path, adapter: Path, over: str, *models: Path
) -> dict[Path, float]:
    """Return how far each of ``models`` is, as ``loss_distances.py`` measures it."""
    base, data = material / "checkpoint", material / "tones.jsonl"
    said = warm_output(python, "tests.support.loss_distances", base, adapter, data, over, *models)
    return {Path(model): far for model, far in json.loads(said.splitlines()[-1]).items()}
