"""Collates training rows into batches of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pipeline.data.tokens import IGNORED, Tokens


@dataclass(frozen=True)
class PaddedBatches:
    """Collates rows of one sequence each, padded at the end to a multiple of 8."""

    pad_id: int

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return ``input_ids``, ``labels`` and ``attention_mask`` of shape [rows, tokens]."""
        width = -(-max(len(row["input_ids"]) for row in rows) // 8) * 8
        ids = torch.full((len(rows), width), self.pad_id)
        labels = torch.full((len(rows), width), IGNORED)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for index, row in enumerate(rows):
            size = len(row["input_ids"])
            ids[index, :size] = torch.tensor(row["input_ids"])
            labels[index, :size] = torch.tensor(row["labels"])
            mask[index, :size] = 1
        return {"input_ids": ids, "labels": labels, "attention_mask": mask}


@dataclass(frozen=True)
class PackedBatches:
    """Collates bins of several sequences. Positions restart at 0 with each sequence, by which
    transformers separates them for attention; so there is no ``attention_mask``."""

    pad_id: int

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return ``input_ids``, ``labels`` and ``position_ids`` of shape [bins, tokens]."""
        width = max(len(row["input_ids"]) for row in rows)
        ids = torch.full((len(rows), width), self.pad_id)
        labels = torch.full((len(rows), width), IGNORED)
        positions = torch.zeros((len(rows), width), dtype=torch.long)
        for index, row in enumerate(rows):
            size = len(row["input_ids"])
            ids[index, :size] = torch.tensor(row["input_ids"])
            labels[index, :size] = torch.tensor(row["labels"])
            positions[index, :size] = torch.tensor(row["position_ids"])
        return {"input_ids": ids, "labels": labels, "position_ids": positions}


@dataclass(frozen=True)
class PaddedRows:
    """The input of :class:`PaddedBatches`, a row at a time."""

    rows: Sequence[Tokens]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        row = self.rows[index]
        return {"input_ids": list(row.ids), "labels": list(row.labels)}


@dataclass(frozen=True)
class PackedRows:
    """The input of :class:`PackedBatches`, a bin at a time.

    The first token of a sequence carries no loss, because the token before it in the bin belongs to
    another sequence.
    """

    rows: Sequence[Tokens]
    bins: Sequence[Sequence[int]]
    """The rows of each bin."""

    def __len__(self) -> int:
        return len(self.bins)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        rows = [self.rows[number] for number in self.bins[index]]
        return {
            "input_ids": [token for row in rows for token in row.ids],
            "labels": [label for row in rows for label in (IGNORED, *row.labels[1:])],
            "position_ids": [place for row in rows for place in range(len(row.ids))],
        }
