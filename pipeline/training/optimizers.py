"""Which optimizer runs on this machine, and how transformers takes its arguments."""

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
"""The same algorithm with its state in ordinary memory."""


def optimizer_here(name: str, report: Reporter) -> str:
    """Return the optimizer ``name``, or the one that does the same without a GPU, and say so."""
    import torch

    if name not in _UNPAGED or torch.cuda.is_available():
        return name
    report.warn(
        f"there is no GPU memory to page out of: {_UNPAGED[name]} in place of {name}, which is the "
        "same algorithm"
    )
    return _UNPAGED[name]


def arguments_of(values: Mapping[str, bool | int | float]) -> str | None:
    """Return ``values`` as transformers takes them: ``momentum=0.9,nesterov=true``."""
    written = (f"{key}={str(value).lower()}" for key, value in values.items())
    return ",".join(written) or None
