"""The widths that a pass chose for the matrices of a checkpoint: a small file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from pipeline.contract.errors import StepError
from pipeline.contract.frozen import Frozen

FILE = "widths.json"
_MOST = 16 << 20
"""Bytes of a file that is read."""


class Widths(Frozen):
    """Which weights are kept in int8, by their names in the checkpoint."""

    int8: tuple[str, ...]
    int4: tuple[str, ...] = Field(default=())
    """The others that were looked at."""

    @property
    def bits(self) -> Mapping[str, int]:
        """Return the width of each weight."""
        return {**dict.fromkeys(self.int4, 4), **dict.fromkeys(self.int8, 8)}

    def save(self, folder: Path) -> None:
        """Write :data:`FILE` into ``folder``."""
        (folder / FILE).write_text(self.model_dump_json(indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, folder: Path) -> Widths:
        """Read what :meth:`save` wrote. Raises :class:`StepError` where it cannot be read."""
        file = folder / FILE
        try:
            if file.stat().st_size > _MOST:
                raise ValueError(f"it is larger than {_MOST} bytes")
            return cls.model_validate_json(file.read_text("utf-8"))
        except (OSError, ValueError, ValidationError) as error:
            raise StepError(f"{FILE} cannot be read: {error}") from error
