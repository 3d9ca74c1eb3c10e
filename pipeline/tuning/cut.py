"""Makes a checkpoint with only the first layers of a model, which is quickly built and timed, and
the same of what passes have chosen for its weights."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.onnx.checkpoint import Checkpoint
from pipeline.weights.files import weight_files
from pipeline.weights.widths import Widths

_CUT = ("model", "integers", "widths")
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
                if _is_kept(name, layers):
                    cut_tensors[name] = tensors.get_tensor(name)  # mapped, not read
    save_file(cut_tensors, folder / "model.safetensors", metadata={"format": "pt"})


class Cuts:
    """The first ``layers`` layers of whatever is asked for, each made once in ``folder``."""

    def __init__(self, layers: int, folder: Path) -> None:
        self._layers = layers
        self._folder = folder
        self._made: dict[Path, Path] = {}

    def of(self, paths: Mapping[str, Path]) -> dict[str, Path]:
        """Return ``paths`` with cut ones for ``model``, ``integers`` and ``widths``."""
        return {role: self._of(role, path) for role, path in paths.items() if role in _CUT}

    def remove(self) -> None:
        """Remove all that was made."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _of(self, role: str, path: Path) -> Path:
        if path not in self._made:
            made = self._folder / str(len(self._made))
            made.mkdir(parents=True)
            if role == "widths":
                _cut_widths(Widths.load(path), self._layers).save(made)
            else:
                cut(Checkpoint(path), self._layers, made)
            self._made[path] = made
        return self._made[path]


def _cut_widths(widths: Widths, layers: int) -> Widths:
    def kept(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if _is_kept(name, layers))

    return Widths(int8=kept(widths.int8), int4=kept(widths.int4))


def _is_kept(name: str, layers: int) -> bool:
    match = _OF_LAYER.search(name)
    return match is None or int(match[1]) < layers


def _shortened(config: dict[str, Any], layers_before: int, layers: int) -> dict[str, Any]:
    """Return the config of the cut model, with lists of one entry per layer cut too."""
    shortened = {
        name: value[:layers] if isinstance(value, list) and len(value) == layers_before else value
        for name, value in config.items()
    }
    return {**shortened, _LAYERS: layers}
