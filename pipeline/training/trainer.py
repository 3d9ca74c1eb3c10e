"""transformers' training loop, with token counts, and a validation loss over all tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from pipeline.data.tokens import IGNORED
from pipeline.training.callbacks import Progress
from pipeline.training.lean_trainer import Trainer
from pipeline.training.resumption import load_trained, save_trained
from pipeline.training.throughput import Throughput


@dataclass
class _LossSum:
    """The sum of the losses of tokens."""

    total: float = 0.0
    tokens: int = 0

    @property
    def mean(self) -> float:
        """Return the loss per token; there must be one."""
        return self.total / self.tokens

    def add(self, mean: float, tokens: int) -> None:
        """Add ``tokens`` tokens whose mean loss is ``mean``."""
        self.total += mean * tokens
        self.tokens += tokens


class MeasuredTrainer(Trainer):
    """Counts the tokens that it trains on, and tells the loss of each batch.

    Its validation loss is the sum of the losses of all learnt tokens of all rows, divided by their
    number.

    transformers averages the means of the batches, so that its loss depends on which rows share a
    batch; and it leaves out the last batch where ``drop_last`` says so for training.
    """

    def __init__(self, *, throughput: Throughput, progress: Progress, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._throughput = throughput
        self._progress = progress
        self._validation = _LossSum()

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the weights that are trained, for a snapshot."""
        save_trained(self.model, Path(output_dir or str(self.args.output_dir)))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:  # noqa: ARG002
        """Read them again, exactly: transformers would have PEFT make another adapter of them."""
        load_trained(self.model, Path(resume_from_checkpoint))

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """Count ``inputs``, then train on them."""
        self._throughput.add(inputs)
        loss = super().training_step(model, inputs, num_items_in_batch)
        self._progress.trained(loss)
        return loss

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Measure the validation loss, without counting its time as training."""
        with self._throughput.paused():
            return super().evaluate(*args, **kwargs)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Measure the loss of all batches; see the class."""
        self._validation = _LossSum()
        output = super().evaluation_loop(*args, **kwargs)
        if self._validation.tokens:
            prefix = kwargs.get("metric_key_prefix", "eval")
            output.metrics[f"{prefix}_loss"] = self._validation.mean
        return output

    def prediction_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Compute the mean loss of one batch, and add it to the sum."""
        result = super().prediction_step(model, inputs, *args, **kwargs)
        # The first label of a row has no token before it that it could be predicted from.
        learnt = int((inputs["labels"][:, 1:] != IGNORED).sum())
        if learnt:
            self._validation.add(float(result[0]), learnt)
        return result

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Return batches of all rows."""
        if self.args.world_size > 1:
            # Each process measures all of them, so that all come to the same decisions.
            rows = self.eval_dataset if eval_dataset is None else eval_dataset
            size = self.args.per_device_eval_batch_size
            return DataLoader(rows, batch_size=size, collate_fn=self.data_collator)
        drop_last = self.args.dataloader_drop_last
        self.args.dataloader_drop_last = False
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.args.dataloader_drop_last = drop_last
