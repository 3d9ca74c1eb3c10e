"""Rounds a checkpoint's matrices by GPTQ, layer by layer.

A layer is rounded for what the layers before it give once they are rounded themselves, so that it
makes up for some of their errors. Rounding a matrix takes several times the squared number of its
inputs in memory.
"""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import JsonValue
from safetensors.numpy import save_file

from pipeline.builder.gptq import Gptq, error_of
from pipeline.contract.errors import StepError
from pipeline.contract.step import Inputs
from pipeline.onnx.checkpoint import Checkpoint
from pipeline.training.calibration import Calibration
from pipeline.training.checkpoint_files import copy_other_files
from pipeline.training.gptq_params import GptqParams
from pipeline.training.layerwise import Layerwise
from pipeline.weights.files import INDEX_FILE, stored_in
from pipeline.weights.integers import (
    IntegerCheckpoint,
    Integers,
    can_be_stored,
    quantization_config,
)
from pipeline.weights.shards import write_file
from pipeline.weights.widths import Widths

_ERRORS = "errors.json"
"""File of a snapshot with the errors so far."""
_JUDGED = 512
"""Outputs of a matrix whose errors are computed."""
Errors = dict[str, tuple[float, float]]
"""By the name of a matrix: how much its products change, and how much they would if each weight
were rounded by itself with the same scales."""


def round_model(inputs: Inputs, params: GptqParams, out_dir: Path) -> dict[str, JsonValue]:
    """Write ``inputs["model"]`` with its matrices as integers; return their errors.

    Raises :class:`StepError` for a model that cannot be run layer by layer.
    """
    return _Rounding(inputs, params, out_dir).run("gptq")


class _Rounding(Layerwise[GptqParams]):
    def __init__(self, inputs: Inputs, params: GptqParams, out_dir: Path) -> None:
        super().__init__(inputs, params, out_dir)
        self._method = Gptq(params.bits, params.block_size, params.symmetric, params.damping)
        self._errors: Errors = {}
        widths = inputs.paths.get("widths")
        self._wide = frozenset(() if widths is None else Widths.load(widths).int8)
        self._config = {
            **Checkpoint(self.source).config,
            "quantization_config": quantization_config(
                params.bits, params.block_size, params.symmetric
            ),
        }

    def work(self, number: int, layer: torch.nn.Module, calibration: Calibration) -> None:
        """Round the matrices of one layer, give it what they stand for, and write them."""
        tensors: dict[str, Any] = {}
        grams: dict[int, Any] = {}
        for name, matrix in calibration.seen(layer).items():
            weight = matrix.module.weight.detach().numpy()
            if not self._fits(name, weight):
                continue
            total = matrix.inputs.total
            assert total is not None  # noqa: S101 - those without are not among them
            squares = grams.setdefault(id(matrix.inputs), total.numpy())
            try:
                rounded = self._method.rounded(weight, squares, self.threads.share)
            except (ValueError, np.linalg.LinAlgError) as error:
                raise StepError(f"{name} cannot be rounded: {error}", cause="bad_input") from error
            self._errors[name] = self._errors_of(weight, rounded, squares)
            _give(matrix.module, rounded)
            stem = name.removesuffix(".weight")
            tensors |= {f"{stem}.{part}": table for part, table in rounded.stored().items()}
        save_file(tensors, self._file(number), {"format": "pt"})

    def again(self, number: int, calibration: Calibration) -> None:
        """Give a layer the integers that an earlier run wrote."""
        with IntegerCheckpoint(self._config, stored_in(self._file(number))) as checkpoint:
            for name in checkpoint.names:
                _give(calibration.part(name.removesuffix(".weight")), checkpoint.read(name))

    def kept_bytes(self, done: int) -> int:
        """Return the size of the first files."""
        return sum(self._file(number).stat().st_size for number in range(done))

    def keep(self, folder: Path, done: int) -> None:
        """Write the integers and errors so far."""
        for number in range(done):
            shutil.copyfile(self._file(number), folder / self._file(number).name)
        (folder / _ERRORS).write_text(json.dumps(self._errors), "utf-8")

    def restore(self, folder: Path, done: int) -> None:
        """Take over integers and errors."""
        for number in range(done):
            shutil.copyfile(folder / self._file(number).name, self._file(number))
        kept = json.loads((folder / _ERRORS).read_text("utf-8"))
        self._errors = {name: (one, other) for name, (one, other) in kept.items()}

    def finish(self, rows: Sequence[Sequence[int]]) -> dict[str, JsonValue]:
        """Write the other weights, and the files beside them."""
        if not self._errors:
            raise StepError(
                f"no matrix can be rounded in blocks of {self.params.block_size}",
                "use a smaller block_size, or remove gptq",
                "bad_input",
            )
        others = {name: self.stored[name] for name in self.stored if name not in self._errors}
        write_file(self._file(-1), others)
        _write_index(self.out_dir, [self._file(number) for number in range(-1, self.layers)])
        text = json.dumps(self._config, indent=2, sort_keys=True)
        (self.out_dir / "config.json").write_text(f"{text}\n", "utf-8")
        copy_other_files(self.source, self.out_dir)
        left = sorted(name for name in others if others[name].dim() == 2)
        return {
            **self.params.model_dump(mode="json", exclude={"trust_remote_code", "weights"}),
            "matrices": len(self._errors),
            "not_rounded": list(left),
            "error": statistics.median(one for one, _ in self._errors.values()),
            "nearest_error": statistics.median(other for _, other in self._errors.values()),
            "errors": {name: list(both) for name, both in self._errors.items()},
            "rows": len(rows),
            "tokens": sum(map(len, rows)),
        }

    def _errors_of(self, weight: Any, rounded: Integers, squares: Any) -> tuple[float, float]:
        """Return by how much products change, rounded so and to the nearest: of some outputs, since
        these are products with as many numbers as the squared inputs."""
        some = slice(None, None, -(-len(weight) // _JUDGED))
        weight, chosen = weight[some], rounded.weights[some]
        nearest = self._method.nearest(weight, rounded.scales[some], rounded.zeros[some])
        return error_of(weight, chosen, squares), error_of(weight, nearest, squares)

    def _fits(self, name: str, weight: Any) -> bool:
        """Return whether the files have the matrix under this name, the format has room, and it is
        not kept in int8."""
        size = (self.params.bits, self.params.block_size)
        return (
            self.is_stored(name, weight)
            and name not in self._wide
            and can_be_stored((weight.shape[0], weight.shape[1]), *size)
        )

    def _file(self, number: int) -> Path:
        """Return the file with layer ``number``, from 0 on; -1 is that of all other weights."""
        return self.out_dir / f"model-{number + 2:05}-of-{self.layers + 1:05}.safetensors"


def _give(module: Any, integers: Integers) -> None:
    """Give ``module`` the weights that ``integers`` stand for."""
    weights = torch.from_numpy(integers.weights)
    module.weight = torch.nn.Parameter(weights, requires_grad=False)


def _write_index(folder: Path, files: list[Path]) -> None:
    names = {name: file.name for file in files for name in stored_in(file)}
    size = sum(tensor.end - tensor.begin for file in files for tensor in stored_in(file).values())
    index = {"metadata": {"total_size": size}, "weight_map": names}
    (folder / INDEX_FILE).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", "utf-8")
