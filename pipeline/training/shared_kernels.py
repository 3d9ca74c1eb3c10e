"""PyTorch's own kernels whose work threads share, where that changes no bit.

PyTorch's own threads would spin while they wait for the next kernel, and which elements of a tensor
it computes one by one, not eight at a time, depends on their number. These sleep, and get pieces
that no number of threads changes: whole rows, or eights of elements.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.weights.threads import Threads, parts

_SMALL = 1 << 15
"""Elements that are not worth a second thread."""
_TOGETHER = 64
"""Elements that stay together: a multiple of those that a kernel computes at a time."""


def shared_kernels(threads: Threads) -> dict[str, Callable[..., Any]]:
    """Return kernels by the names of their operations: softmax, of which a loss has the logarithms
    for each token of a vocabulary, and what networks have between two products."""
    import torch

    aten = torch.ops.aten
    rows = {
        "_softmax": (aten._softmax.out, "out"),
        "_softmax_backward_data": (aten._softmax_backward_data.out, "grad_input"),
        "_log_softmax": (aten._log_softmax.out, "out"),
        "_log_softmax_backward_data": (aten._log_softmax_backward_data.out, "out"),
    }
    elements = {
        "silu": (aten.silu.out, "out"),
        "silu_backward": (aten.silu_backward.grad_input, "grad_input"),
        "gelu": (aten.gelu.out, "out"),
        "gelu_backward": (aten.gelu_backward.grad_input, "grad_input"),
    }
    return {
        **{name: _by_rows(*found, threads) for name, found in rows.items()},
        **{name: _by_elements(*found, threads) for name, found in elements.items()},
    }


def _by_rows(written: Any, result: str, threads: Threads) -> Callable[..., Any]:
    """Return a kernel that computes whole rows by ``written``, which has the argument ``result``
    for what it writes."""
    import torch

    def run(*arguments: Any) -> Any:
        # (values, dimension, ...) forward, (gradient, output, dimension, ...) backward
        tensors = [item for item in arguments if isinstance(item, torch.Tensor)]
        first, (dimension, *others) = tensors[0], arguments[len(tensors) :]
        if dimension not in (-1, first.dim() - 1) or not _worth_it(tensors):
            return written(*arguments, **{result: first.new_empty(0)})
        values = [item.detach().view(-1, item.shape[-1]) for item in tensors]
        return _shared(written, result, values, (1, *others), {}, 1, threads).view(first.shape)

    return run


def _by_elements(written: Any, result: str, threads: Threads) -> Callable[..., Any]:
    """Return a kernel that computes elements by ``written``, each on its own."""

    def run(*tensors: Any, **options: Any) -> Any:
        first = tensors[0]
        if not _worth_it(tensors):
            return written(*tensors, **options, **{result: first.new_empty(0)})
        values = [item.detach().view(-1) for item in tensors]
        found = _shared(written, result, values, (), options, _TOGETHER, threads)
        return found.view(first.shape)

    return run


def _worth_it(tensors: Any) -> bool:
    """Return whether ``tensors`` are large, and lie in memory as their elements are counted."""
    import torch

    first = tensors[0]
    return first.numel() > _SMALL and all(
        item.dtype in (torch.float32, torch.float64)
        and item.shape == first.shape
        and item.is_contiguous()
        for item in tensors
    )


def _shared(
    written: Any,
    result: str,
    values: list[Any],
    others: tuple[Any, ...],
    options: dict[str, Any],
    together: int,
    threads: Threads,
) -> Any:
    """Return what ``written`` makes of ``values``, by ``threads``: each has neighbours of the first
    dimension, ``together`` at a time."""
    from pipeline.weights.blas import unfilled

    length = len(values[0])
    found = unfilled(values[0].shape, values[0].dtype)

    def compute(part: range) -> None:
        piece = slice(part.start, part.stop)
        given = (item[piece] for item in values)
        written(*given, *others, **options, **{result: found[piece]})

    threads.share(compute, parts(length, -(-length // together // threads.count) * together))
    return found
