"""Checkpoints as people have them, made of the tiny one, and what PyTorch makes of them.

Run by a toolchain's Python:
``python odd_checkpoints.py make CHECKPOINT OUT`` writes a folder for each of them into ``OUT``;
``python odd_checkpoints.py distance BASE ADAPTER MERGED ...`` prints for each three by how much
``MERGED`` differs at most from what transformers and PEFT make of base and adapter.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

WEIGHTS = "model.safetensors"


def make(checkpoint: Path, out: Path) -> None:
    """Write the variants."""
    weights = load_file(checkpoint / WEIGHTS)
    stale = copied(checkpoint, out / "stale")
    (stale / WEIGHTS).unlink()
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    model.save_pretrained(stale, max_shard_size="200KB")
    assert len(list(stale.glob("model-*.safetensors"))) > 1
    others = {name: torch.randn_like(weight) for name, weight in weights.items()}
    # Both names come after those of the index.
    save_file(others, stale / "model-00099-of-00099.safetensors", metadata={"format": "pt"})
    save_file(others, stale / "z-consolidated.safetensors", metadata={"format": "pt"})

    old = copied(checkpoint, out / "old")
    tables = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(8) for i in range(2)}
    save_file({**weights, **tables}, old / WEIGHTS, metadata={"format": "pt"})

    # Both are told by the values of the table alone.
    for name, settings in (
        ("theta", {"rope_theta": 500_000.0}),
        ("partial", {"partial_rotary_factor": 0.5}),
    ):
        other = copied(checkpoint, out / name)
        config = json.loads((other / "config.json").read_text())
        for former in ("rope_theta", "rope_scaling", "partial_rotary_factor"):
            config.pop(former, None)
        config["rope_parameters"] = {"rope_type": "default", "rope_theta": 10_000.0, **settings}
        (other / "config.json").write_text(json.dumps(config))

    # Far shorter than the long text with which exports are compared.
    windowed = copied(checkpoint, out / "windowed")
    config = json.loads((windowed / "config.json").read_text())
    (windowed / "config.json").write_text(json.dumps({**config, "sliding_window": 64}))

    undeclared = copied(checkpoint, out / "undeclared")
    config = json.loads((undeclared / "config.json").read_text())
    kept = {key: value for key, value in config.items() if key not in ("dtype", "torch_dtype")}
    (undeclared / "config.json").write_text(json.dumps(kept))
    halves = {name: weight.to(torch.bfloat16) for name, weight in weights.items()}
    save_file(halves, undeclared / WEIGHTS, metadata={"format": "pt"})

    lacking = copied(checkpoint, out / "lacking")
    some = {name: weight for name, weight in weights.items() if name != "model.norm.weight"}
    save_file(some, lacking / WEIGHTS, metadata={"format": "pt"})

    broken = copied(checkpoint, out / "broken")
    some = {name: weight.clone() for name, weight in weights.items()}
    some["model.layers.1.mlp.down_proj.weight"][5, 7] = float("nan")
    save_file(some, broken / WEIGHTS, metadata={"format": "pt"})


def copied(checkpoint: Path, folder: Path) -> Path:
    """Return a copy of ``checkpoint``."""
    return Path(shutil.copytree(checkpoint, folder))


def distance(base: Path, adapter: Path, merged: Path) -> float:
    """Return the largest difference of a weight."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    right = PeftModel.from_pretrained(model, adapter).merge_and_unload().state_dict()
    ours = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32).state_dict()
    assert right.keys() == ours.keys()
    return max(float((ours[name] - right[name]).abs().max()) for name in right)


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        paths = [Path(argument) for argument in sys.argv[2:]]
        for base, adapter, merged in zip(paths[::3], paths[1::3], paths[2::3], strict=True):
            print(distance(base, adapter, merged))  # noqa: T201
