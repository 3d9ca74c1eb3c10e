"""Fine-tunings that go on after they were killed, to the same weights as if they had not been."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pipeline.training.adapter import trainable
from pipeline.training.callbacks import BestWeights, Progress
from pipeline.training.snapshots import PREFIX, Snapshots
from pipeline.training.throughput import Throughput

_TRAINED = "trained.safetensors"
_BEST = "best.safetensors"
_FIGURES = "figures.json"
_PER_WEIGHT = 4
"""What a snapshot holds of each weight that is trained: itself, its best value, and two moments."""


class Resumption(TrainerCallback):
    """Has transformers write a snapshot when one is due, and adds what it leaves out: loss curves,
    the best weights so far, and the cost.

    A snapshot is taken only where a point of the loss curve was, since transformers forgets the sum
    of the losses after it. The last step of an epoch is not such a place, as the epoch's validation
    is still to come; the end of the epoch is.
    """

    def __init__(
        self,
        snapshots: Snapshots,
        progress: Progress,
        selection: BestWeights,
        throughput: Throughput,
        ordered_by_epoch: bool,
    ) -> None:
        """``ordered_by_epoch``: the order of the rows is drawn when an epoch begins, and can only
        be drawn again there."""
        self._snapshots = snapshots
        self._progress = progress
        self._selection = selection
        self._throughput = throughput
        self._ordered_by_epoch = ordered_by_epoch
        self._logged = 0

    def restore(self, snapshot: Path) -> None:
        """Take over the figures and the best weights of a snapshot."""
        figures = json.loads((snapshot / _FIGURES).read_text("utf-8"))
        self._progress.restore(figures["progress"])
        self._throughput.restore(figures["throughput"])
        best = snapshot / _BEST
        self._selection.restore(figures["selection"], load_file(best) if best.exists() else {})

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002 - the signature is transformers'
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Note the step of a point of the loss curve."""
        if logs and "loss" in logs:
            self._logged = state.global_step
        _not_at_the_end(control)

    def on_evaluate(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,
        **_: Any,
    ) -> None:
        """Take no snapshot of a training that has just been stopped."""
        _not_at_the_end(control)

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,
        model: Any,
        **_: Any,
    ) -> None:
        """Ask for a snapshot if one is due."""
        within_epoch = not float(state.epoch or 0).is_integer()
        if control.should_log and within_epoch and not self._ordered_by_epoch:
            self._ask(state, control, model)

    def on_epoch_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,
        model: Any,
        **_: Any,
    ) -> None:
        """Ask for a snapshot if one is due."""
        if control.should_log or self._logged == state.global_step:
            self._ask(state, control, model)

    def _ask(self, state: TrainerState, control: TrainerControl, model: Any) -> None:
        if control.should_training_stop or not self._snapshots.due(state.global_step):
            return
        weights = trainable(model).values()
        bytes_each = sum(weight.numel() * weight.element_size() for weight in weights)
        control.should_save = self._snapshots.has_room(bytes_each * _PER_WEIGHT)

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """Add what transformers leaves out, and declare the snapshot complete."""
        snapshot = Path(str(args.output_dir)) / f"{PREFIX}{state.global_step}"
        figures = {
            "progress": self._progress.figures(),
            "selection": self._selection.figures(),
            "throughput": self._throughput.counts(),
        }
        (snapshot / _FIGURES).write_text(json.dumps(figures), "utf-8")
        if self._selection.best:
            save_file(self._selection.best, snapshot / _BEST)
        self._snapshots.complete(snapshot)


def save_trained(model: Any, folder: Path) -> None:
    """Write the weights of ``model`` that are trained, as they are, into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = trainable(model)
    save_file({name: w.detach().contiguous() for name, w in weights.items()}, folder / _TRAINED)


def load_trained(model: Any, folder: Path) -> None:
    """Give ``model`` the weights that :func:`save_trained` wrote. Raises ``KeyError`` if they are
    of another model."""
    stored = load_file(folder / _TRAINED)
    with torch.no_grad():
        for name, weight in trainable(model).items():
            weight.copy_(stored[name])


def _not_at_the_end(control: TrainerControl) -> None:
    if control.should_training_stop:
        control.should_save = False
