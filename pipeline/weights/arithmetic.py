"""Arithmetic that has the same bits on every CPU.

Libraries choose kernels by the CPU's vendor and instruction set, and their results differ in the
last bit. MKL adds up a product's terms in another order on Intel's CPUs than on AMD's, where it
ignores ``MKL_CBWR``; its cosines, sines and exponentials differ as well. What IEEE 754 fixes is one
addition or multiplication at a time: here every result follows from that alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_DOUBLE_BITS = 53
_AT_ONCE = 1 << 22
"""Results of a product that are computed at once."""

# pi/2 and log 2 in parts, from fdlibm (e_rem_pio2.c, e_exp.c): so few bits are in all but the last
# that their products with whole numbers up to 2**20 are exact.
_HALF_PI = (1.57079632673412561417e00, 6.07710050630396597660e-11, 2.02226624879595063154e-21)
_LOG_2 = (6.93147180369123816490e-01, 1.90821492927058770002e-10)

# Taylor series: beyond these terms nothing is left to a double, for |x| <= pi/4.
_SINE = [(-1) ** k / math.factorial(2 * k + 1) for k in range(10)]
_COSINE = [(-1) ** k / math.factorial(2 * k) for k in range(10)]
_EXPONENTIAL = [1 / math.factorial(k) for k in range(15)]


class SameBits(TorchDispatchMode):
    """While entered, the products, cosines, sines and exponentials that PyTorch computes on the CPU
    have the same bits on every CPU, whatever the number of threads."""

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        own = _OWN.get(func)
        if own is not None and all(_on_cpu(value) for value in args):
            return own(*args)
        return func(*args, **(kwargs or {}))


def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return the matrix product ``left @ right``, rounded once.

    Each factor is cut into two parts of so few bits that a double holds every sum of their products
    exactly, in whatever order a library adds them up (Ozaki et al., "Error-free transformations of
    matrix multiplication", Numerical Algorithms 59, 2012).
    """
    bits = (_DOUBLE_BITS - math.ceil(math.log2(max(2 * left.shape[1], 1)))) // 2
    other_high, other_low = _parts(right.double(), 0, bits)
    other_both = torch.cat((other_low, other_high))
    result = left.new_empty(left.shape[0], right.shape[1])
    # Few rows at a time: what is added up then stays near the processor.
    rows = max(1, _AT_ONCE // max(right.shape[1], 1))
    for at in range(0, left.shape[0], rows):
        high, low = _parts(left[at : at + rows].double(), 1, bits)
        total = high @ other_high
        total += torch.cat((high, low), 1) @ other_both
        result[at : at + rows] = total
    return result


def cosine(angle: torch.Tensor) -> torch.Tensor:
    """Return the cosine. Exact to a float's last bit for angles up to 1.6 million."""
    return _wave(angle, 1)


def sine(angle: torch.Tensor) -> torch.Tensor:
    """Return the sine. Exact to a float's last bit for angles up to 1.6 million."""
    return _wave(angle, 0)


def exponential(power: torch.Tensor) -> torch.Tensor:
    """Return ``e ** power``."""
    wide = power.double().clamp(-700, 700)  # what a float cannot hold, and a double can
    whole = torch.round(wide * (1 / math.log(2)))
    rest = _rest(wide, whole, _LOG_2)
    return (_series(_EXPONENTIAL, rest) * _power_of_two(whole)).to(power.dtype)


def _parts(matrix: torch.Tensor, inner: int, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``matrix`` as two summands: whole multiples, up to ``2 ** bits``, of one power of two
    per row or column along the dimension ``inner``, and of one ``2 ** bits`` times as small."""
    _, exponent = torch.frexp(matrix.abs().amax(inner, keepdim=True))
    unit = _power_of_two(exponent - bits)
    high = torch.round(matrix / unit) * unit
    fine = _power_of_two(exponent - 2 * bits)
    return high, torch.round((matrix - high) / fine) * fine


def _power_of_two(exponent: torch.Tensor) -> torch.Tensor:
    """Return ``2 ** exponent``, put together from the bits of a double."""
    return ((exponent.long() + 1023) << 52).view(torch.float64)


def _wave(angle: torch.Tensor, ahead: int) -> torch.Tensor:
    """Return the sine of ``angle`` and ``ahead`` quarter turns."""
    wide = angle.double()
    quarters = torch.round(wide * (2 / math.pi))
    rest = _rest(wide, quarters, _HALF_PI)
    square = rest * rest
    quadrant = torch.remainder(quarters + ahead, 4)
    odd = torch.remainder(quadrant, 2) == 1
    value = torch.where(odd, _series(_COSINE, square), rest * _series(_SINE, square))
    return torch.where(quadrant >= 2, -value, value).to(angle.dtype)


def _rest(value: torch.Tensor, count: torch.Tensor, parts: Sequence[float]) -> torch.Tensor:
    """Return ``value - count * sum(parts)``, taken off part by part."""
    for part in parts:
        value = value - count * part
    return value


def _series(coefficients: Sequence[float], value: torch.Tensor) -> torch.Tensor:
    """Return the polynomial with ``coefficients``, that of the lowest power first."""
    total = torch.full_like(value, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total * value + coefficient
    return total


def _on_cpu(value: Any) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and value.device.type == "cpu"
        and value.dtype.is_floating_point
    )


_OWN: Mapping[Any, Callable[..., torch.Tensor]] = {
    torch.ops.aten.mm.default: product,
    torch.ops.aten.cos.default: cosine,
    torch.ops.aten.sin.default: sine,
    torch.ops.aten.exp.default: exponential,
}
