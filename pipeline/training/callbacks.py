"""Trainer callbacks: progress, loss curves, keeping the best weights, early stopping."""

from __future__ import annotations

import time
from collections.abc import Mapping
from math import isfinite
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pipeline.contract.step import Reporter
from pipeline.training.adapter import trainable
from pipeline.training.throughput import Throughput

_PACE = 0.5
"""Shortest time in seconds between two steps that are told: each makes a GPU finish its work."""


class Progress(TrainerCallback):
    """Reports steps, keeps the curves of training and validation loss, and stops a training whose
    loss is not a number: it stays one."""

    def __init__(self, report: Reporter, throughput: Throughput) -> None:
        self.report = report
        self._throughput = throughput
        self._step_loss: Any = 0.0
        self._next = 0.0
        self.train_curve: list[tuple[int, float]] = []
        self.validation_curve: list[tuple[int, float]] = []
        self._newest: dict[str, float] = {}

    def trained(self, loss: Any) -> None:
        """Take the loss of a batch: its share of that of the whole step."""
        self._step_loss = self._step_loss + loss

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002 - the signature is transformers'
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """Report the step, its loss, and how fast all went so far."""
        loss, self._step_loss = self._step_loss, 0.0
        now = time.monotonic()
        if now >= self._next or state.global_step >= state.max_steps:
            self._next = now + _PACE
            self._newest["loss"] = float(loss)
            self._tell(state)

    def _tell(self, state: TrainerState) -> None:
        figures = {**self._newest, **self._throughput.newest()}
        self.report.progress(state.global_step, state.max_steps, "steps", **figures)

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002 - the signature is transformers'
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Record and report the newest figures."""
        logs = logs or {}
        if "loss" in logs:
            loss = float(logs["loss"])
            self.train_curve.append((state.global_step, round(loss, 6)))
            self._newest["loss"] = loss
            control.should_training_stop |= not isfinite(loss)
        if "eval_loss" in logs:
            loss = float(logs["eval_loss"])
            self.validation_curve.append((state.global_step, round(loss, 6)))
            self._newest["validation_loss"] = loss
        if "loss" in logs or "eval_loss" in logs:
            self._tell(state)

    def figures(self) -> dict[str, Any]:
        """Return both curves, for :meth:`restore`."""
        return {"train": self.train_curve, "validation": self.validation_curve}

    def restore(self, figures: Mapping[str, Any]) -> None:
        """Go on with the curves of an interrupted training."""
        self.train_curve = [(step, loss) for step, loss in figures["train"]]
        self.validation_curve = [(step, loss) for step, loss in figures["validation"]]


class BestWeights(TrainerCallback):
    """Remembers the weights with the lowest validation loss; stops when it no longer falls."""

    def __init__(self, model: Any, keep_best: bool, patience: int | None, threshold: float) -> None:
        self._model = model
        self._keep_best = keep_best
        self._patience = patience
        self._threshold = threshold
        self._mark = float("inf")
        self._waited = 0
        self.best: dict[str, Any] = {}
        """The best weights so far, by name; empty unless they are kept."""
        self.best_loss = float("inf")
        self.best_step: int | None = None
        self.stopped_early = False

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> None:
        """Measure after the last step too, whatever the interval."""
        epoch_measures = args.eval_strategy == "epoch" and args.eval_delay <= (state.epoch or 0)
        if state.global_step >= state.max_steps and not epoch_measures:
            control.should_evaluate = True

    def on_evaluate(
        self,
        args: TrainingArguments,  # noqa: ARG002 - the signature is transformers'
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float],
        **_: Any,
    ) -> None:
        """Compare the newest validation loss with the best; that before step 1 does not count."""
        if state.global_step == 0:
            return
        loss = metrics["eval_loss"]
        if loss < self.best_loss:
            self.best_loss, self.best_step = loss, state.global_step
            if self._keep_best:
                self.best = {
                    name: weight.detach().to("cpu", copy=True)
                    for name, weight in trainable(self._model).items()
                }
        if loss < self._mark - self._threshold:
            self._mark, self._waited = loss, 0
        else:
            self._waited += 1
        if self._patience is not None and self._waited >= self._patience:
            control.should_training_stop = True
            self.stopped_early = state.global_step < state.max_steps

    def figures(self) -> dict[str, Any]:
        """Return all but the weights, for :meth:`restore`."""
        return {
            "mark": self._mark,
            "waited": self._waited,
            "best_loss": self.best_loss,
            "best_step": self.best_step,
        }

    def restore(self, figures: Mapping[str, Any], best: Mapping[str, Any]) -> None:
        """Go on where an interrupted training was. ``best`` are its best weights."""
        self._mark, self._waited = figures["mark"], figures["waited"]
        self.best_loss, self.best_step = figures["best_loss"], figures["best_step"]
        self.best = dict(best)

    def put_back(self) -> None:
        """Give the model the best weights, if they were to be kept."""
        weights = trainable(self._model)
        for name, value in self.best.items():
            weights[name].data.copy_(value)
