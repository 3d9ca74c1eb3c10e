"""transformers' training loop, but for what it does to the validation part and does not measure."""

from __future__ import annotations

from typing import Any

from transformers import Trainer

from pipeline.training.throughput import Throughput


class MeasuredTrainer(Trainer):
    """Counts the tokens it trains on, and validates on every row: ``drop_last`` is about training
    batches.

    transformers leaves validation rows out too, and has no loss where they fill no batch.
    """

    def __init__(self, *, throughput: Throughput, **given: Any) -> None:
        super().__init__(**given)
        self._throughput = throughput

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """Count ``inputs``, then train on them."""
        self._throughput.add(inputs)
        return super().training_step(model, inputs, num_items_in_batch)

    def evaluate(self, *given: Any, **named: Any) -> Any:
        """Measure the validation loss, which is no training."""
        with self._throughput.paused():
            return super().evaluate(*given, **named)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Return batches of all rows."""
        drop_last = self.args.dataloader_drop_last
        self.args.dataloader_drop_last = False
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.args.dataloader_drop_last = drop_last
