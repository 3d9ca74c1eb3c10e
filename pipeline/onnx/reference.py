"""What the merged float model computed for a few texts: token ids and logits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = "logits.npz"


@dataclass(frozen=True)
class Row:
    """One text: its token ids, and the logits after each of its last tokens."""

    ids: tuple[int, ...]
    logits: Any
    """Shape (positions, vocabulary), float32; positions is at most the number of ids."""


@dataclass(frozen=True)
class Reference:
    """All rows."""

    rows: tuple[Row, ...]

    def save(self, folder: Path) -> None:
        """Write the rows into ``folder``, uncompressed: the same rows give the same bytes."""
        import numpy as np

        arrays: dict[str, Any] = {}
        for number, row in enumerate(self.rows):
            arrays[f"ids_{number}"] = np.asarray(row.ids, dtype=np.int32)
            arrays[f"logits_{number}"] = np.asarray(row.logits, dtype=np.float32)
        np.savez(folder / FILE, **arrays)

    @staticmethod
    def load(folder: Path) -> Reference:
        """Return the rows that :meth:`save` wrote. Raises ``OSError`` or ``ValueError``."""
        import numpy as np

        with np.load(folder / FILE, allow_pickle=False) as arrays:
            count = sum(name.startswith("ids_") for name in arrays.files)
            return Reference(
                tuple(
                    Row(
                        tuple(int(token) for token in arrays[f"ids_{number}"]),
                        arrays[f"logits_{number}"],
                    )
                    for number in range(count)
                )
            )
