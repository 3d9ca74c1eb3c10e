"""Makes a checkpoint with only the first layers of a model, which is quickly built and timed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from pipeline.onnx.checkpoint import Checkpoint
from pipeline.weights.files import weight_files

_LAYERS = "num_hidden_layers"
_OF_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")


def can_cut(checkpoint: Checkpoint, layers: int) -> bool:
    """Return whether the model has more than ``layers`` layers, with names of a known form."""
    count = checkpoint.config.get(_LAYERS)
    if not isinstance(count, int) or not 0 < layers < count:
        return False
    numbers = {int(match[1]) for name in checkpoint.shapes if (match := _OF_LAYER.search(name))}
    return numbers == set(range(count))


def cut(checkpoint: Checkpoint, layers: int, folder: Path) -> None:
    """Write the first ``layers`` layers, and everything outside of layers, into ``folder``."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    for file in checkpoint.folder.iterdir():
        if file.is_file() and ".safetensors" not in file.name and file.suffix != ".bin":
            shutil.copyfile(file, folder / file.name)
    config = _shortened(dict(checkpoint.config), int(checkpoint.config[_LAYERS]), layers)
    (folder / "config.json").write_text(json.dumps(config, indent=2), "utf-8")
    cut_tensors: dict[str, Any] = {}
    for file in weight_files(checkpoint.folder):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - it is no mapping
                match = _OF_LAYER.search(name)
                if match is None or int(match[1]) < layers:
                    cut_tensors[name] = tensors.get_tensor(name)  # mapped, not read
    save_file(cut_tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _shortened(config: dict[str, Any], layers_before: int, layers: int) -> dict[str, Any]:
    """Return the config of the cut model, with lists of one entry per layer cut too."""
    shortened = {
        name: value[:layers] if isinstance(value, list) and len(value) == layers_before else value
        for name, value in config.items()
    }
    return {**shortened, _LAYERS: layers}
