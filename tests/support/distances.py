"""How far checkpoints answer from an adapter beside its base, in nats per token."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.support.plans import ROOT

SAME = 0.001
"""What rounding may make of the same weights, whatever kernels a CPU has."""
OTHER = 0.005
"""What other weights are apart at least."""


def measure_distances(
    python: Path, material: Path, adapter: Path, over: str, *models: Path
) -> dict[Path, float]:
    """Return how far each of ``models`` is, as ``loss_distances.py`` measures it."""
    places = map(str, (material / "checkpoint", adapter, material / "tones.jsonl", over, *models))
    command = [str(python), "-m", "tests.support.loss_distances", *places]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return {Path(model): far for model, far in json.loads(done.stdout.splitlines()[-1]).items()}
