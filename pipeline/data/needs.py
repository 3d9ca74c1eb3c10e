"""What parameters of a pass or check need of a data set."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from pipeline.contract.data_spec import DataSpec


@runtime_checkable
class NeedsOfData(Protocol):
    """Parameters that not every data set can serve."""

    def problems_with(self, spec: DataSpec) -> list[str]:
        """Return what of these parameters the data set cannot serve, and what to do."""
