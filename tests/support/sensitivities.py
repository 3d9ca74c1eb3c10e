"""What rounding each matrix of small models costs: as the pass estimates it, and as it is.

Run by a toolchain's Python: ``python sensitivities.py TINY OUT``. ``TINY`` is the folder of
``tiny_model.py``. Writes ``OUT/found.json``: for each model and group of matrices the pass's figure
(the mean over several seeds), and the divergence of transformers' model with those matrices rounded
from the one without, in fp64, over the same tokens. Weights are rounded here to the nearest of 256
equal steps between the smallest and the largest of a block, with NumPy alone.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from pipeline.builder.blockwise import Blockwise
from pipeline.training.calibration import Calibration
from pipeline.training.sensitivity import Sensitivity
from pipeline.training.snapshots import Snapshots
from pipeline.training.streamed import deferred_model
from pipeline.weights.stored import stored_tensors
from tests.support.beside_plain import WarningRecorder
from tests.support.rounded_models import MODELS
from tests.support.tiny_model import PHRASES

BITS, BLOCK, SEEDS = 8, 32, 8


def rounded(weight: Any) -> Any:
    """Return ``weight`` with each block of a row rounded to equal steps."""
    rows, columns = weight.shape
    blocks = weight.reshape(rows, columns // BLOCK, BLOCK)
    low, high = blocks.min(axis=2, keepdims=True), blocks.max(axis=2, keepdims=True)
    step = np.where(high > low, (high - low) / (2**BITS - 1), 1)
    zero = np.round(-low / step)
    values = np.clip(np.round(blocks / step) + zero, 0, 2**BITS - 1)
    return ((values - zero) * step).reshape(rows, columns)


def truth(folder: Path, group: Sequence[str], rows: Sequence[Sequence[int]]) -> float:
    """Return the mean divergence per token that rounding the weights of ``group`` costs."""
    model, other = (
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval() for _ in range(2)
    )
    parts = dict(other.named_parameters(remove_duplicate=False))
    for name in group:
        parts[name].data = torch.from_numpy(rounded(parts[name].detach().numpy().copy()))
    if other.config.tie_word_embeddings and "lm_head.weight" in group:
        other.get_input_embeddings().weight.data = parts["lm_head.weight"].data
    total, count = 0.0, 0
    with torch.no_grad():
        for row in rows:
            ids = torch.tensor([list(row)])
            before, after = (one(ids).logits[0].log_softmax(-1) for one in (model, other))
            total += float((before.exp() * (before - after)).sum())
            count += len(row)
    return total / count


def estimate(folder: Path, rows: Sequence[Sequence[int]]) -> dict[tuple[str, ...], float]:
    """Return what the pass finds, as the mean over several draws."""
    config = AutoConfig.from_pretrained(folder)
    method = Blockwise(BITS, BLOCK, least_squares=False, zero_points=True)
    found: dict[tuple[str, ...], float] = {}
    for seed in range(SEEDS):
        weights = {name: one.to(torch.float32) for name, one in stored_tensors(folder).items()}
        model = deferred_model(config, weights).eval()
        none_kept = Snapshots(None, None, WarningRecorder())
        measured = Sensitivity(
            model, Calibration(model, rows), method, seed, lambda *_: None, none_kept
        ).measure()
        for group, nats in measured.items():
            found[group] = found.get(group, 0.0) + nats / SEEDS
    return found


def main(tiny: Path, out: Path) -> None:
    """Compare."""
    torch.set_num_threads(1)
    folders = {"phi3": tiny / "checkpoint"}
    for name in ("llama", "gemma3"):
        folders[name] = out / name
        shutil.copytree(
            tiny / "checkpoint", folders[name], ignore=shutil.ignore_patterns("*.safetensors")
        )
        torch.manual_seed(0)
        MODELS[name]().eval().save_pretrained(folders[name])
    facts = {}
    for name, folder in folders.items():
        tokenizer = AutoTokenizer.from_pretrained(folder)
        texts = [text for group in PHRASES.values() for text in group]
        rows = [tokenizer.encode(text) for text in texts]
        facts[name] = [
            {"names": group, "estimate": nats, "truth": truth(folder, group, rows)}
            for group, nats in estimate(folder, rows).items()
        ]
    (out / "found.json").write_text(json.dumps(facts, indent=1), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
