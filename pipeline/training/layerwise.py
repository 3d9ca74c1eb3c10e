"""Work on the layers of a checkpoint, one after the other, for rows of the training part.

In memory are one layer, the hidden states of all rows, and what the work takes. It goes on after
the layers that an interrupted run finished.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from pydantic import JsonValue

from pipeline.contract.errors import StepError
from pipeline.contract.step import Inputs
from pipeline.data.tokenize import Codec
from pipeline.data.tokenizer import load_tokenizer
from pipeline.training.calibration import Calibration
from pipeline.training.calibration_rows import calibration_rows
from pipeline.training.determinism import prepare
from pipeline.training.layerwise_params import LayerwiseParams
from pipeline.training.named_kernels import named_kernels
from pipeline.training.snapshots import Snapshots, step_of
from pipeline.training.streamed import Unit, deferred_model, why_not_streamed
from pipeline.weights.stored import stored_tensors
from pipeline.weights.threads import Threads

P = TypeVar("P", bound=LayerwiseParams)


class Layerwise(ABC, Generic[P]):
    """The work of one pass, of which a subclass says what it does with a layer."""

    def __init__(self, inputs: Inputs, params: P, out_dir: Path) -> None:
        self.inputs, self.params, self.out_dir = inputs, params, out_dir
        self.source = inputs["model"]
        self.stored = stored_tensors(self.source)
        self.threads = Threads(inputs.threads)

    def run(self, name: str) -> dict[str, JsonValue]:
        """Do the work of the pass ``name``; return its metrics.

        Raises :class:`StepError` for a model that cannot be run layer by layer.
        """
        why = why_not_streamed(self.source, self.params)
        if why:
            raise StepError(
                f"{name} reads weights one by one: {why}", f"remove {name}", "bad_input"
            )
        prepare(self.inputs.seed, self.inputs.threads)
        with named_kernels(self.inputs.threads):
            return self._run()

    @abstractmethod
    def work(self, number: int, layer: torch.nn.Module, calibration: Calibration) -> None:
        """Do the work on the layer ``number``, which has its weights."""

    def again(self, number: int, calibration: Calibration) -> None:
        """Give the layer ``number`` what :meth:`work` gave it in an earlier run."""

    @abstractmethod
    def keep(self, folder: Path, done: int) -> None:
        """Write what is known after ``done`` layers into ``folder``."""

    @abstractmethod
    def restore(self, folder: Path, done: int) -> None:
        """Take over what :meth:`keep` wrote."""

    def kept_bytes(self, done: int) -> int:  # noqa: ARG002
        """Return how much :meth:`keep` will write after ``done`` layers."""
        return 0

    @abstractmethod
    def finish(self, rows: Sequence[Sequence[int]]) -> dict[str, JsonValue]:
        """Write the output; return the metrics."""

    def _run(self) -> dict[str, JsonValue]:
        codec = Codec(load_tokenizer(self.source, self.params.trust_remote_code))
        rows = calibration_rows(self.inputs, codec, self.params.samples, self.params.max_length)
        calibration = self._calibration(rows)
        self.layers = len(calibration.layers)
        report = self.inputs.report
        snapshots = Snapshots(self.inputs.unfinished, self.params.save_layers, report, "layer")
        done = 0
        if (snapshot := snapshots.latest()) is not None:
            done = step_of(snapshot)
            self.restore(snapshot, done)
        for number, layer in enumerate(calibration.layers):
            unit = Unit(layer)
            unit.load()
            if number < done:
                self.again(number, calibration)
            else:
                self.work(number, layer, calibration)
            following = number + 1
            if following < self.layers:
                calibration.advance(layer)
            unit.forget()
            due = done < following < self.layers and snapshots.due(following)
            if due and snapshots.has_room(self.kept_bytes(following)):
                with snapshots.new(following) as folder:
                    self.keep(folder, following)
            report.progress(following, self.layers, "layers")
        return self.finish(rows)

    def _calibration(self, rows: Sequence[Sequence[int]]) -> Calibration:
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(self.source, local_files_only=True)
        weights = {name: tensor.to(torch.float32) for name, tensor in self.stored.items()}
        return Calibration(deferred_model(config, weights).eval(), rows)

    def is_stored(self, name: str, weight: Any) -> bool:
        """Return whether the files have ``weight`` under ``name``, as it is."""
        stored = self.stored.get(name)
        return stored is not None and tuple(stored.shape) == tuple(weight.shape)
