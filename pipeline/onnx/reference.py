"""Reference data of a model: token ids and logits of a few texts, and its rotary tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.onnx.rotary import RotaryTable

FILE = "logits.npz"

BASE_DIR = "base"
"""Subfolder, beside the logits of base and adapter together, for those of the base alone."""

LONG = 2048
"""A text with more tokens is a long one. Beyond this many, artifacts have produced garbage."""


@dataclass(frozen=True)
class ReferenceRow:
    """One text: its token ids, and the logits after each of its last tokens."""

    ids: tuple[int, ...]
    logits: Any
    """Shape (positions, vocabulary), float32; positions is at most the number of ids."""

    @property
    def is_long(self) -> bool:
        """Return whether it has positions beyond :data:`LONG`."""
        return len(self.ids) > LONG


@dataclass(frozen=True)
class Reference:
    """All rows of a model, and its rotary tables."""

    rows: tuple[ReferenceRow, ...]
    rotary: tuple[RotaryTable, ...] = ()
    """Empty if the model has no rotary tables, or of an unknown kind."""

    def save(self, folder: Path) -> None:
        """Write everything into ``folder``, uncompressed: the same rows give the same bytes."""
        import numpy as np

        arrays: dict[str, Any] = {}
        for number, row in enumerate(self.rows):
            arrays[f"ids_{number}"] = np.asarray(row.ids, dtype=np.int32)
            arrays[f"logits_{number}"] = np.asarray(row.logits, dtype=np.float32)
        for number, table in enumerate(self.rotary):
            arrays[f"rotary_{number}_length"] = np.asarray(table.length, dtype=np.int64)
            arrays[f"rotary_{number}_positions"] = np.asarray(table.positions, dtype=np.int64)
            arrays[f"rotary_{number}_cos"] = np.asarray(table.cos, dtype=np.float32)
            arrays[f"rotary_{number}_sin"] = np.asarray(table.sin, dtype=np.float32)
        np.savez(folder / FILE, **arrays)

    @staticmethod
    def load(folder: Path) -> Reference:
        """Return what :meth:`save` wrote. Raises ``OSError`` or ``ValueError``."""
        import numpy as np

        with np.load(folder / FILE, allow_pickle=False) as arrays:
            rows = sum(name.startswith("ids_") for name in arrays.files)
            tables = sum(name.endswith("_length") for name in arrays.files)
            return Reference(
                tuple(
                    ReferenceRow(
                        tuple(int(token) for token in arrays[f"ids_{number}"]),
                        arrays[f"logits_{number}"],
                    )
                    for number in range(rows)
                ),
                tuple(
                    RotaryTable(
                        int(arrays[f"rotary_{number}_length"]),
                        arrays[f"rotary_{number}_positions"],
                        arrays[f"rotary_{number}_cos"],
                        arrays[f"rotary_{number}_sin"],
                    )
                    for number in range(tables)
                ),
            )
