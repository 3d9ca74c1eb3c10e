"""The interface of parameters that require something of the data set."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from pipeline.contract.data_spec import DataSpec


@runtime_checkable
class DataRequirements(Protocol):
    """Parameters that not every data set supports."""

    def problems_with(self, spec: DataSpec) -> list[str]:
        """Return a message for each parameter that the data set does not support."""
