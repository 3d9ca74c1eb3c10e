"""The tensors of a checkpoint folder as deferred tensors, read when they are needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open

from pipeline.weights.deferred import Deferred
from pipeline.weights.files import weight_files

_NOT_LOADED = "rotary_emb.inv_freq"
"""Tables in each layer of old checkpoints. Models compute one of their own now, and transformers
ignores these (``_adjust_missing_and_unexpected_keys`` in ``modeling_utils.py``)."""


def stored_tensors(folder: Path) -> dict[str, Deferred]:
    """Return every tensor in the weight files of ``folder`` by its name.

    Each use maps the file anew, so that the pages of a tensor are freed after its use.
    """
    tensors: dict[str, Deferred] = {}
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - not a dict
                if name.endswith(_NOT_LOADED):
                    continue
                like = torch.empty_like(opened.get_tensor(name), device="meta")
                tensors[name] = Deferred.of(like, _reader(file, name))
    return tensors


def _reader(file: Path, name: str) -> Callable[[], torch.Tensor]:
    def read() -> torch.Tensor:
        with safe_open(file, framework="pt") as opened:
            return opened.get_tensor(name)

    return read
