"""transformers' training loop, with token counts, and with all rows of the validation part."""

from __future__ import annotations

from typing import Any

from transformers import Trainer

from pipeline.training.throughput import Throughput


class MeasuredTrainer(Trainer):
    """Counts the tokens that it trains on, and applies ``drop_last`` to training batches only.

    transformers also applies it to validation batches, and then has no validation loss if the rows
    do not fill a batch.
    """

    def __init__(self, *, throughput: Throughput, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._throughput = throughput

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """Count ``inputs``, then train on them."""
        self._throughput.add(inputs)
        return super().training_step(model, inputs, num_items_in_batch)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Measure the validation loss, without counting its time as training."""
        with self._throughput.paused():
            return super().evaluate(*args, **kwargs)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Return batches of all rows."""
        drop_last = self.args.dataloader_drop_last
        self.args.dataloader_drop_last = False
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.args.dataloader_drop_last = drop_last
