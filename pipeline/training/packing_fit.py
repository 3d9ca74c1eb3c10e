"""Tries on a model whether rows that are packed into one sequence stay apart in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from pipeline.contract.errors import StepError
from pipeline.data.tokens import Tokens
from pipeline.training.batches import PackedBatches, PackedRows

_ROW = 12
"""Tokens of a row that is tried."""
_STRIDE = 7919
"""Step through the vocabulary; a prime, so that tokens hardly repeat."""
_FEW_ROUNDINGS = 8
_MANY_ROUNDINGS = 64
_LEAST = 1e-4
"""Smallest difference that counts, as a multiple of the spread of the logits."""


def require_rows_apart(model: Any) -> None:
    """Raise :class:`StepError` if a row's logits depend on the row before it in the same sequence.

    transformers separates packed rows by the positions, which restart with each row; a model whose
    attention, convolution or recurrence does not read them sees the row before. Two pairs of rows
    are tried, with the same second row: its logits must be the same, and those that it has alone.
    What is tried are the very weights, kernels and number format that are trained.
    """
    first, other, second = (_row(model, number) for number in range(3))
    training = model.training
    model.eval()
    try:
        packed, changed = (_logits(model, [row, second])[_ROW:] for row in (first, other))
        alone = _logits(model, [second])
    finally:
        model.train(training)
    spread = float(alone.std())
    rounding = torch.finfo(next(model.parameters()).dtype).eps
    for moved, roundings, why in (
        (packed - changed, _FEW_ROUNDINGS, "changing one row of a sequence moved the logits of"),
        (packed - alone, _MANY_ROUNDINGS, "another row before it in the sequence moved those of"),
    ):
        furthest = float(moved.abs().max())
        if not furthest <= max(_LEAST, roundings * rounding) * spread:
            raise StepError(
                f"packing mixes rows in a {_name(model)}: {why} the next one by {furthest:.2g}, "
                f"and they are spread over {spread:.2g}; its layers do not all read position_ids, "
                "which keep packed rows apart",
                "remove packing",
                "bad_input",
            )


def _row(model: Any, number: int) -> Tokens:
    size = model.get_input_embeddings().weight.shape[0]
    ids = tuple((number * _ROW + place + 1) * _STRIDE % size for place in range(_ROW))
    return Tokens(ids, ids)


def _logits(model: Any, rows: Sequence[Tokens]) -> torch.Tensor:
    """Return the logits of ``rows``, packed as in training, in fp32: [tokens, vocabulary]."""
    batch = PackedBatches(pad_id=0)([PackedRows(rows, [range(len(rows))])[0]])
    batch = {name: values.to(model.device) for name, values in batch.items()}
    with torch.no_grad():
        logits: torch.Tensor = model(**batch, use_cache=False).logits[0]
    return logits.float()


def _name(model: Any) -> str:
    get_base = getattr(model, "get_base_model", None)
    return type(get_base() if get_base is not None else model).__name__
