"""The figures of a running step in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from targets.figures import size

_TOKENS = "tokens_per_second"
_GPU = "gpu_bytes"


def progress_words(metrics: Mapping[str, float]) -> Iterator[str]:
    """Yield each figure that a step reports: ``loss 1.23``, ``642 tokens/s``, ``GPU 3.1 GB``."""
    for name, value in metrics.items():
        if name == _TOKENS:
            yield f"{value:,.0f} tokens/s" if value >= 10 else f"{value:.2g} tokens/s"
        elif name == _GPU:
            yield f"GPU {size(value)}"
        else:
            yield f"{name.replace('_', ' ')} {value:.4g}"
