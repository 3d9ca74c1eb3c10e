"""transformers' training loop, but for what it does to the validation part."""

from __future__ import annotations

from typing import Any

from transformers import Trainer


class WholeValidationTrainer(Trainer):
    """Measures on every validation row: ``drop_last`` is about training batches.

    transformers leaves validation rows out too, and has no loss where they fill no batch.
    """

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Return batches of all rows."""
        drop_last = self.args.dataloader_drop_last
        self.args.dataloader_drop_last = False
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.args.dataloader_drop_last = drop_last
