"""Scales a checkpoint's weights by AWQ, layer by layer, so that they can be rounded with less loss.

What the layers compute stays the same (:mod:`pipeline.training.folds`), so the inputs of a matrix
are those of the model as it is.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import JsonValue
from safetensors.numpy import load_file, save_file

from pipeline.builder.awq import Awq, Reader, Scales
from pipeline.contract.errors import StepError
from pipeline.contract.step import Inputs
from pipeline.onnx.checkpoint import Checkpoint
from pipeline.training.awq_params import AwqParams
from pipeline.training.calibration import Calibration, Seen
from pipeline.training.checkpoint_files import copy_other_files
from pipeline.training.folds import Exponents, Fold, folds_of
from pipeline.training.layerwise import Layerwise
from pipeline.weights.deferred import Deferred
from pipeline.weights.shards import write_shards

_EXPONENTS = "exponents.safetensors"
"""File of a snapshot with the factors so far."""
_FOUND = "found.json"
"""File of a snapshot with all else."""


def scale_model(inputs: Inputs, params: AwqParams, out_dir: Path) -> dict[str, JsonValue]:
    """Write ``inputs["model"]`` with its weights scaled; return by how much that helps.

    Raises :class:`StepError` for a model that cannot be run layer by layer.
    """
    return _Scaling(inputs, params, out_dir).run("awq")


class _Scaling(Layerwise[AwqParams]):
    def __init__(self, inputs: Inputs, params: AwqParams, out_dir: Path) -> None:
        super().__init__(inputs, params, out_dir)
        self._method = Awq(params.bits, params.block_size, params.symmetric)
        self._exponents = Exponents()
        self._errors: dict[str, tuple[float, float]] = {}
        self._left: dict[str, str] = {}
        self._heads_per_value = _heads_per_value(Checkpoint(self.source).config)

    def work(
        self,
        number: int,  # noqa: ARG002
        layer: torch.nn.Module,
        calibration: Calibration,
    ) -> None:
        """Find the factors of one layer."""
        seen = calibration.seen(layer)
        places, without = folds_of(layer, calibration, self._heads_per_value)
        for name in without:
            self._left[name] = "nothing before it can take the factors of its inputs"
        folds = []
        for fold in places:
            if why := self._why_not(fold, seen, calibration):
                self._left |= dict.fromkeys(fold.readers, why)
            else:
                folds.append(fold)
        found: dict[int, Scales] = {}

        def search(at: int) -> None:
            found[at] = self._searched(folds[at], seen)

        if folds:
            self.threads.share(search, range(len(folds)))
        for at, fold in enumerate(folds):
            scales = found[at]
            self._errors |= dict.fromkeys(fold.readers, (scales.error, scales.plain_error))
            self._exponents.add(fold.exponents(scales.exponents))

    def _searched(self, fold: Fold, seen: Mapping[str, Seen]) -> Scales:
        order = np.argsort(fold.sources, kind="stable")
        readers = [_reader(seen[name]) for name in fold.readers]
        try:
            return self._method.scales(readers, order.reshape(fold.count, -1))
        except ValueError as error:
            what = ", ".join(fold.readers)
            raise StepError(f"{what} cannot be scaled: {error}", cause="bad_input") from error

    def keep(self, folder: Path, done: int) -> None:  # noqa: ARG002
        """Write the factors so far."""
        found = self._exponents
        tables = {f"rows {name}": rows for name, rows in found.rows.items()}
        tables |= {f"columns {name}": columns for name, columns in found.columns.items()}
        save_file(tables, folder / _EXPONENTS)
        others = [sorted(found.plus_one), self._errors, self._left]
        (folder / _FOUND).write_text(json.dumps(others), "utf-8")

    def restore(self, folder: Path, done: int) -> None:  # noqa: ARG002
        """Take over the factors."""
        for key, table in load_file(folder / _EXPONENTS).items():
            axis, _, name = key.partition(" ")
            getattr(self._exponents, axis)[name] = table
        plus_one, errors, self._left = json.loads((folder / _FOUND).read_text("utf-8"))
        self._exponents.plus_one = set(plus_one)
        self._errors = {name: (one, other) for name, (one, other) in errors.items()}

    def finish(self, rows: Sequence[Sequence[int]]) -> dict[str, JsonValue]:
        """Write the weights, multiplied, and the files beside them."""
        if not self._errors:
            reasons = "; ".join(sorted(set(self._left.values())))
            raise StepError(f"no matrix can be scaled: {reasons}", "remove awq", "bad_input")
        tensors = {name: self._multiplied(name, self.stored[name]) for name in self.stored}
        report = self.inputs.report
        write_shards(
            tensors,
            self.source,
            self.out_dir,
            lambda done, total: report.progress(done, total, "tensors"),
        )
        # What was scaled is fp32: in fewer bits, other numbers would be rounded than before.
        config = {**Checkpoint(self.source).config, "dtype": "float32"}
        config.pop("torch_dtype", None)
        text = json.dumps(config, indent=2, sort_keys=True)
        (self.out_dir / "config.json").write_text(f"{text}\n", "utf-8")
        copy_other_files(self.source, self.out_dir)
        return {
            **self.params.model_dump(mode="json", exclude={"trust_remote_code", "weights"}),
            "matrices": len(self._errors),
            "not_scaled": dict(self._left),
            "error": statistics.median(one for one, _ in self._errors.values()),
            "plain_error": statistics.median(other for _, other in self._errors.values()),
            "errors": {name: list(both) for name, both in self._errors.items()},
            "rows": len(rows),
            "tokens": sum(map(len, rows)),
        }

    def _multiplied(self, name: str, tensor: Deferred) -> Deferred:
        if name not in self._exponents.names:
            return tensor
        like = tensor.like.to(torch.float32)
        return Deferred.of(like, lambda: self._exponents.applied(name, tensor.computed()))

    def _why_not(self, fold: Fold, seen: Mapping[str, Seen], calibration: Calibration) -> str:
        """Return why the factors of ``fold`` cannot be used; empty if they can."""
        size = self.params.block_size
        if fold.count % size or not _in_whole_blocks(fold.sources, size):
            return f"its inputs share factors in groups that are not made of blocks of {size}"
        for name in fold.readers:
            if name not in seen:
                return "not all of its inputs could be seen"
        for name in (*fold.readers, *fold.parameters):
            part, _, own = name.rpartition(".")
            if not self.is_stored(name, calibration.part(part)._parameters[own]):
                return f"the checkpoint has {name} under another name"
        return ""


def _heads_per_value(config: Mapping[str, Any]) -> int:
    """Return how many heads of attention share their values."""
    heads, values = (config.get(f"num_{kind}_heads") for kind in ("attention", "key_value"))
    if isinstance(heads, int) and isinstance(values, int) and values > 0:
        return max(heads // values, 1)
    return 1


def _reader(seen: Seen) -> Reader:
    total = seen.inputs.total
    assert total is not None  # noqa: S101 - those without are not among them
    return Reader(seen.module.weight.detach().numpy(), total.numpy())


def _in_whole_blocks(sources: Any, size: int) -> bool:
    """Return whether blocks of inputs have the factors of blocks, in the same order."""
    if len(sources) % size:
        return False
    blocks = sources.reshape(-1, size)
    first = blocks[:, :1]
    return not (first % size).any() and bool((blocks == first + np.arange(size)).all())
