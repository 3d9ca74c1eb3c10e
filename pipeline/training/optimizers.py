"""Selects the optimizer for this machine, and formats its arguments for transformers."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.contract.step import Reporter

_UNPAGED = {
    "paged_adamw_8bit": "adamw_bnb_8bit",
    "paged_adamw_32bit": "adamw_torch",
    "paged_ademamix_8bit": "ademamix_8bit",
    "paged_ademamix_32bit": "ademamix",
    "paged_lion_8bit": "lion_8bit",
    "paged_lion_32bit": "lion_32bit",
}
"""For each paged optimizer, the same algorithm without paging."""


def available_optimizer(name: str, report: Reporter) -> str:
    """Return the optimizer ``name``; without a GPU, warn and return the equivalent unpaged one."""
    import torch

    if name not in _UNPAGED or torch.cuda.is_available():
        return name
    report.warn(
        f"there is no GPU memory to page out of: {_UNPAGED[name]} in place of {name}, which is the "
        "same algorithm"
    )
    return _UNPAGED[name]


def format_arguments(values: Mapping[str, bool | int | float]) -> str | None:
    """Return ``values`` in transformers' format: ``momentum=0.9,nesterov=true``."""
    written = (f"{key}={str(value).lower()}" for key, value in values.items())
    return ",".join(written) or None
