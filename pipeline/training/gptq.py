"""Rounds a checkpoint's matrices by GPTQ, layer by layer.

A layer is rounded for what the layers before it give once they are rounded themselves, so that it
makes up for some of their errors. In memory are one layer, the hidden states of all rows, and what
rounding a matrix takes: several times the squared number of its inputs.
"""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import JsonValue
from safetensors.numpy import save_file

from pipeline.builder.gptq import Gptq, error_of
from pipeline.contract.errors import StepError
from pipeline.contract.step import Inputs
from pipeline.data.tokenize import Codec
from pipeline.data.tokenizer import load_tokenizer
from pipeline.onnx.checkpoint import Checkpoint
from pipeline.training.calibration import Calibration, Seen
from pipeline.training.calibration_rows import calibration_rows
from pipeline.training.checkpoint_files import copy_other_files
from pipeline.training.determinism import prepare
from pipeline.training.gptq_params import GptqParams
from pipeline.training.named_kernels import named_kernels
from pipeline.training.snapshots import Snapshots, step_of
from pipeline.training.streamed import Unit, deferred_model, why_not_streamed
from pipeline.weights.files import INDEX_FILE, stored_in
from pipeline.weights.integers import (
    IntegerCheckpoint,
    Integers,
    can_be_stored,
    quantization_config,
)
from pipeline.weights.shards import write_file
from pipeline.weights.stored import stored_tensors
from pipeline.weights.threads import Threads
from pipeline.weights.widths import Widths

_ERRORS = "errors.json"
"""File of a snapshot with the errors so far."""
Errors = dict[str, tuple[float, float]]
"""By the name of a matrix: how much its products change, and how much they would if each weight
were rounded by itself with the same scales."""


def round_model(inputs: Inputs, params: GptqParams, out_dir: Path) -> dict[str, JsonValue]:
    """Write ``inputs["model"]`` with its matrices as integers; return their errors.

    Raises :class:`StepError` for a model that cannot be run layer by layer.
    """
    why = why_not_streamed(inputs["model"], params)
    if why:
        raise StepError(f"gptq reads weights one by one: {why}", "remove gptq", "bad_input")
    prepare(inputs.seed, inputs.threads)
    with named_kernels(inputs.threads):
        return _Rounding(inputs, params, out_dir).run()


class _Rounding:
    def __init__(self, inputs: Inputs, params: GptqParams, out_dir: Path) -> None:
        self._inputs, self._params, self._out_dir = inputs, params, out_dir
        self._source = inputs["model"]
        self._stored = stored_tensors(self._source)
        self._method = Gptq(params.bits, params.block_size, params.symmetric, params.damping)
        self._threads = Threads(inputs.threads)
        self._errors: Errors = {}
        widths = inputs.paths.get("widths")
        self._wide = frozenset(() if widths is None else Widths.load(widths).int8)
        self._config = {
            **Checkpoint(self._source).config,
            "quantization_config": quantization_config(
                params.bits, params.block_size, params.symmetric
            ),
        }

    def run(self) -> dict[str, JsonValue]:
        codec = Codec(load_tokenizer(self._source, self._params.trust_remote_code))
        rows = calibration_rows(self._inputs, codec, self._params.samples, self._params.max_length)
        calibration = self._calibration(rows)
        layers = calibration.layers
        snapshots = Snapshots(
            self._inputs.unfinished, self._params.save_layers, self._inputs.report, "layer"
        )
        done = self._restored(snapshots.latest(), len(layers))
        for at, layer in enumerate(layers):
            unit = Unit(layer)
            unit.load()
            file = self._out_dir / _file(at + 1, len(layers))
            if at < done:
                self._use(file, calibration)
            else:
                self._round(calibration.seen(layer), file)
            if at + 1 < len(layers):
                calibration.advance(layer)
            unit.forget()
            if at >= done and at + 1 < len(layers) and snapshots.due(at + 1):
                self._keep(snapshots, at + 1, len(layers))
            self._inputs.report.progress(at + 1, len(layers), "layers")
        return self._finish(rows, len(layers))

    def _calibration(self, rows: list[tuple[int, ...]]) -> Calibration:
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(self._source, local_files_only=True)
        weights = {name: tensor.to(torch.float32) for name, tensor in self._stored.items()}
        return Calibration(deferred_model(config, weights).eval(), rows)

    def _round(self, seen: Mapping[str, Seen], file: Path) -> None:
        """Round the matrices of one layer, give it what they stand for, and write them."""
        tensors: dict[str, Any] = {}
        grams: dict[int, Any] = {}
        for name, matrix in seen.items():
            weight = matrix.module.weight.detach().numpy()
            if not self._fits(name, weight):
                continue
            gram = matrix.inputs.total
            assert gram is not None  # noqa: S101 - those without are not among them
            squares = grams.setdefault(id(matrix.inputs), gram.numpy())
            try:
                rounded = self._method.rounded(weight, squares, self._threads.share)
            except (ValueError, np.linalg.LinAlgError) as error:
                raise StepError(f"{name} cannot be rounded: {error}", cause="bad_input") from error
            nearest = self._method.nearest(weight, squares)
            self._errors[name] = (
                error_of(weight, rounded.weights, squares),
                error_of(weight, nearest.weights, squares),
            )
            _give(matrix.module, rounded)
            layer = name.removesuffix(".weight")
            tensors |= {f"{layer}.{part}": table for part, table in rounded.stored().items()}
        save_file(tensors, file, {"format": "pt"})

    def _fits(self, name: str, weight: Any) -> bool:
        """Return whether the files have the matrix under this name, the format has room, and it is
        not kept in int8."""
        stored = self._stored.get(name)
        size = (self._params.bits, self._params.block_size)
        return (
            stored is not None
            and name not in self._wide
            and tuple(stored.shape) == weight.shape
            and can_be_stored((weight.shape[0], weight.shape[1]), *size)
        )

    def _use(self, file: Path, calibration: Calibration) -> None:
        """Give a layer the integers in ``file``, which an earlier run wrote."""
        with IntegerCheckpoint(self._config, stored_in(file)) as checkpoint:
            for name in checkpoint.names:
                _give(calibration.module_of(name), checkpoint.read(name))

    def _restored(self, snapshot: Path | None, layers: int) -> int:
        """Take over what an interrupted run finished; return how many layers."""
        if snapshot is None:
            return 0
        done = step_of(snapshot)
        for at in range(done):
            shutil.copyfile(snapshot / _file(at + 1, layers), self._out_dir / _file(at + 1, layers))
        kept = json.loads((snapshot / _ERRORS).read_text("utf-8"))
        self._errors = {name: (one, other) for name, (one, other) in kept.items()}
        return done

    def _keep(self, snapshots: Snapshots, done: int, layers: int) -> None:
        """Keep what the next run needs to go on."""
        files = [self._out_dir / _file(at + 1, layers) for at in range(done)]
        if not snapshots.has_room(sum(file.stat().st_size for file in files)):
            return
        with snapshots.new(done) as folder:
            for file in files:
                shutil.copyfile(file, folder / file.name)
            (folder / _ERRORS).write_text(json.dumps(self._errors), "utf-8")

    def _finish(self, rows: list[tuple[int, ...]], layers: int) -> dict[str, JsonValue]:
        """Write the other weights, and the files beside them."""
        if not self._errors:
            raise StepError(
                f"no matrix can be rounded in blocks of {self._params.block_size}",
                "use a smaller block_size, or remove gptq",
                "bad_input",
            )
        others = {name: self._stored[name] for name in self._stored if name not in self._errors}
        write_file(self._out_dir / _file(0, layers), others)
        files = [self._out_dir / _file(at, layers) for at in range(layers + 1)]
        _write_index(self._out_dir, files)
        text = json.dumps(self._config, indent=2, sort_keys=True)
        (self._out_dir / "config.json").write_text(f"{text}\n", "utf-8")
        copy_other_files(self._source, self._out_dir)
        left = sorted(name for name in others if others[name].dim() == 2)
        return {
            **self._params.model_dump(mode="json", exclude={"trust_remote_code", "weights"}),
            "matrices": len(self._errors),
            "not_rounded": list(left),
            "error": statistics.median(one for one, _ in self._errors.values()),
            "nearest_error": statistics.median(other for _, other in self._errors.values()),
            "errors": {name: list(both) for name, both in self._errors.items()},
            "rows": len(rows),
            "tokens": sum(map(len, rows)),
        }


def _give(module: Any, integers: Integers) -> None:
    """Give ``module`` the weights that ``integers`` stand for."""
    weights = torch.from_numpy(integers.weights)
    module.weight = torch.nn.Parameter(weights, requires_grad=False)


def _file(number: int, layers: int) -> str:
    """Return the name of the file with layer ``number``, from 1 on; 0 is that of the others."""
    return f"model-{number + 1:05}-of-{layers + 1:05}.safetensors"


def _write_index(folder: Path, files: list[Path]) -> None:
    names = {name: file.name for file in files for name in stored_in(file)}
    size = sum(tensor.end - tensor.begin for file in files for tensor in stored_in(file).values())
    index = {"metadata": {"total_size": size}, "weight_map": names}
    (folder / INDEX_FILE).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", "utf-8")
