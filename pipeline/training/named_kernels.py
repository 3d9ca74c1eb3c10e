"""Trains with kernels that do not depend on the CPU's vendor, caches or number of threads."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline.training.shared_kernels import shared_kernels
from pipeline.weights.threads import Threads

if TYPE_CHECKING:
    import torch

_NAMED = "OPENBLAS_CORETYPE"
"""The toolchain's environment sets it where the bytes must not be those of one CPU."""
_QUANTIZED = 1 << 19
"""Weights that a thread quantizes at once: whole blocks, and few enough for a CPU's cache."""


@contextmanager
def named_kernels(threads: int) -> Iterator[None]:
    """Inside, the CPU computes what PyTorch leaves to MKL otherwise: products by the kernels of
    :mod:`pipeline.weights.blas`, which ``threads`` threads share, as they do
    :mod:`pipeline.training.shared_kernels`.

    All else has one thread. How PyTorch's own kernels part a sum, and which elements they compute
    one by one, depends on the number of threads. Attention is computed from its products.
    Without the variable that names the kernels, and where a GPU trains, nothing changes.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    if _NAMED not in os.environ or torch.cuda.is_available():
        yield
        return
    before = torch.get_num_threads()
    shared = Threads(threads)
    libraries = [_replaced("aten", {**_kernels(shared), **shared_kernels(shared)})]
    import bitsandbytes  # noqa: F401 - it registers what is replaced

    four_bit = {"dequantize_4bit": _dequantize, "quantize_4bit": _quantizer(shared)}
    libraries.append(_replaced("bitsandbytes", four_bit))
    torch.set_num_threads(1)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.set_num_threads(before)
        for library in libraries:
            library._destroy()


def unheld(model: Any) -> Iterator[str]:
    """Yield which parts of ``model`` other vendors' CPUs may train to other bytes all the same."""
    import torch

    if _NAMED not in os.environ or torch.cuda.is_available():
        return
    found = sorted({type(module).__name__ for module in model.modules() if _is_unheld(module)})
    if found:
        yield (
            f"another vendor's CPU may train this model to other bytes: {', '.join(found)} has no "
            "kernel that is chosen by name"
        )


def _is_unheld(module: Any) -> bool:
    import torch

    return isinstance(module, torch.nn.modules.conv._ConvNd | torch.nn.RNNBase)


def _replaced(namespace: str, kernels: dict[str, Any]) -> Any:
    """Make ``kernels`` those of the CPU; return what holds them."""
    import torch

    library = torch.library.Library(namespace, "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns of what is meant here: others are replaced
        for name, kernel in kernels.items():
            library.impl(name, kernel, "CPU", allow_override=True)
    return library


def _kernels(threads: Threads) -> dict[str, Any]:
    """Return the kernels by the names of their operations."""
    import torch

    from pipeline.weights.arithmetic import cosine, exponential, sine
    from pipeline.weights.blas import Blas

    product = Blas(threads).product

    def add(added: Any, left: Any, right: Any, *, beta: float = 1, alpha: float = 1) -> Any:
        if left.dtype in (torch.bfloat16, torch.float16):  # rounded once, after the sum
            wide = add(added.float(), left.float(), right.float(), beta=beta, alpha=alpha)
            return wide.to(left.dtype)
        found = product(left, right)
        if alpha != 1:
            found = found.mul_(alpha)
        return found if beta == 0 else found.add_(added, alpha=beta)

    def in_place(added: Any, left: Any, right: Any, *, beta: float = 1, alpha: float = 1) -> Any:
        return added.copy_(add(added, left, right, beta=beta, alpha=alpha))

    def written(kernel: Any) -> Any:
        def out(*args: Any, out: Any, **options: Any) -> Any:
            found = kernel(*args, **options)
            return out.resize_(found.shape).copy_(found)

        return out

    def kept(kernel: Any) -> Any:
        return lambda value: value.copy_(kernel(value))

    def with_vector(matrix: Any, vector: Any) -> Any:
        return product(matrix, vector[:, None])[:, 0]

    def dot(left: Any, right: Any) -> Any:
        return product(left[None], right[:, None])[0, 0]

    kernels: dict[str, Any] = {
        "mm": product,
        "bmm": product,
        "mv": with_vector,
        "dot": dot,
        "vdot": dot,
    }
    for name in ("addmm", "baddbmm"):
        kernels |= {name: add, f"{name}_": in_place, f"{name}.out": written(add)}
    for name in ("mm", "bmm"):
        kernels[f"{name}.out"] = written(product)
    for name, kernel in {
        "sqrt": _square_root,
        "tanh": _hyperbolic_tangent,
        "exp": exponential,
        "cos": cosine,
        "sin": sine,
    }.items():
        kernels |= {name: kernel, f"{name}.out": written(kernel), f"{name}_": kept(kernel)}
    return kernels


def _square_root(value: torch.Tensor) -> torch.Tensor:
    """Return the square roots by numpy, which rounds as IEEE 754 has it; MKL does not always."""
    import numpy as np
    import torch

    if value.dtype not in (torch.float32, torch.float64):
        return _square_root(value.float()).to(value.dtype)
    with np.errstate(invalid="ignore"):  # of a negative number it is NaN, as PyTorch has it
        return torch.from_numpy(np.asarray(np.sqrt(value.detach().numpy())))


def _hyperbolic_tangent(value: torch.Tensor) -> torch.Tensor:
    """Return the hyperbolic tangents: near zero, where digits would cancel, ``x - x**3 / 3``."""
    import torch

    from pipeline.weights.arithmetic import exponential

    wide = value.double()
    small = wide - wide * wide * wide / 3
    large = 1 - 2 / (exponential(2 * wide) + 1)
    return torch.where(wide.abs() < 1e-4, small, large).to(value.dtype)


def _quantizer(threads: Threads) -> Any:
    """Return bitsandbytes' quantization, which ``threads`` share: blocks depend on nothing else."""
    import torch

    operation = torch.ops.bitsandbytes.quantize_4bit.default
    own = torch._C.DispatchKeySet(torch._C.DispatchKey.CompositeExplicitAutograd)

    def quantize(weight: Any, blocksize: int, quant_type: str, storage: Any) -> Any:
        flat = weight.reshape(-1)
        found: list[Any] = [None] * -(-len(flat) // _QUANTIZED)

        def compute(at: int) -> None:
            part = flat[at * _QUANTIZED : (at + 1) * _QUANTIZED]
            found[at] = operation.redispatch(own, part, blocksize, quant_type, storage)

        threads.share(compute, range(len(found)))
        packed, scales = zip(*found, strict=True)
        return torch.cat(packed), torch.cat(scales)

    return quantize


def _dequantize(
    packed: torch.Tensor,
    absmax: torch.Tensor,
    blocksize: int,
    quant_type: str,
    shape: Any,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Return the weights of two 4-bit indices in each byte, the first one in its high bits."""
    import torch
    from bitsandbytes.functional import get_4bit_type

    code = get_4bit_type(quant_type, device="cpu")
    byte = torch.arange(256)
    pairs = torch.stack((code[byte >> 4], code[byte & 0b1111]), dim=1)
    flat = pairs[packed.view(torch.uint8).flatten().int()].flatten()
    scales = absmax.float().repeat_interleave(blocksize)[: flat.numel()]
    return flat.mul_(scales)[: torch.Size(shape).numel()].view(*shape).to(dtype)
