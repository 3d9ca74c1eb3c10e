"""Matrix products, cosines, sines and exponentials with the same bits on every CPU.

Libraries choose kernels by the vendor and the instruction set of the CPU, and the results of these
differ in the last bit. MKL adds the terms of a product in another order on Intel's CPUs than on
AMD's, where it ignores ``MKL_CBWR``; its cosines, sines and exponentials differ as well. IEEE 754
fixes the result of a single addition or multiplication only. So everything here is computed from
sums that are exact in any order, and from single operations in a fixed order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_DOUBLE_BITS = 53
_AT_ONCE = 1 << 22
"""Elements of a product that are computed at once."""

# pi/2 and log 2 in parts, from fdlibm (e_rem_pio2.c, e_exp.c): so few bits are in all but the last
# that their products with whole numbers up to 2**20 are exact.
_HALF_PI = (1.57079632673412561417e00, 6.07710050630396597660e-11, 2.02226624879595063154e-21)
_LOG_2 = (6.93147180369123816490e-01, 1.90821492927058770002e-10)

# Taylor series: beyond these terms nothing is left to a double, for |x| <= pi/4.
_SINE = [(-1) ** k / math.factorial(2 * k + 1) for k in range(10)]
_COSINE = [(-1) ** k / math.factorial(2 * k) for k in range(10)]
_EXPONENTIAL = [1 / math.factorial(k) for k in range(15)]


class SameBits(TorchDispatchMode):
    """Context in which PyTorch's matrix products, cosines, sines and exponentials of floating-point
    tensors on the CPU are those of this module, independent of CPU and number of threads."""

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        replacement = _OWN.get(func)
        if replacement is not None and all(_on_cpu(value) for value in args):
            return replacement(*args)
        return func(*args, **(kwargs or {}))


def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return ``left @ right`` ([m, k] times [k, n]) in the number format of ``left``.

    Each factor is split into two parts of ``b`` bits, ``A = A1 + A2`` and ``B = B1 + B2``
    (:func:`_parts`), and the result is ``A1 B1 + (A1 B2 + A2 B1)``. With
    ``b = floor((53 - ceil(log2(2 k))) / 2)`` a double holds the sums of both products exactly, so
    the order in which a library adds their terms does not matter. What the parts do not hold, and
    ``A2 B2``, are left out: about ``2 ** (-2 b)`` of the product of the largest elements of row and
    column (``2 ** -40`` for k = 4,096), enough for fp32 and narrower formats. The method is that of
    Ozaki et al., "Error-free transformations of matrix multiplication by using fast routines of
    matrix multiplication and its applications", Numerical Algorithms 59 (2012).
    """
    bits = (_DOUBLE_BITS - math.ceil(math.log2(max(2 * left.shape[1], 1)))) // 2
    other_high, other_low = _parts(right.double(), 0, bits)
    other_both = torch.cat((other_low, other_high))
    result = left.new_empty(left.shape[0], right.shape[1])
    # Few rows at a time, so that the sums stay in the processor's cache.
    rows = max(1, _AT_ONCE // max(right.shape[1], 1))
    for at in range(0, left.shape[0], rows):
        high, low = _parts(left[at : at + rows].double(), 1, bits)
        total = high @ other_high
        total += torch.cat((high, low), 1) @ other_both
        result[at : at + rows] = total
    return result


def cosine(angle: torch.Tensor) -> torch.Tensor:
    """Return the cosine of each angle (radians), in the number format of ``angle``.

    It is accurate to fp32 for angles up to 1.6 million, since :func:`_wave` counts up to 2**20
    quarter turns exactly.
    """
    return _wave(angle, 1)


def sine(angle: torch.Tensor) -> torch.Tensor:
    """Return the sine of each angle (radians), as accurate as :func:`cosine`."""
    return _wave(angle, 0)


def exponential(power: torch.Tensor) -> torch.Tensor:
    """Return ``e ** power`` of each element, in the number format of ``power``.

    ``power = n log(2) + r`` with an integer ``n`` and ``|r| <= log(2) / 2``; then
    ``e ** power = 2 ** n * e ** r``, with the Taylor series of ``e ** r``.
    """
    wide = power.double().clamp(-700, 700)  # values that a float cannot hold, but a double can
    whole = torch.round(wide * (1 / math.log(2)))
    rest = _rest(wide, whole, _LOG_2)
    return (_series(_EXPONENTIAL, rest) * _power_of_two(whole)).to(power.dtype)


def _parts(matrix: torch.Tensor, inner: int, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``high`` and ``low``, whose sum is ``matrix`` rounded to ``2 * bits`` bits.

    Elements of ``high`` are integers up to ``2 ** bits`` times a power of two, which is the same
    along the dimension ``inner``; in ``low`` that power is ``2 ** bits`` times smaller.
    """
    _, exponent = torch.frexp(matrix.abs().amax(inner, keepdim=True))
    unit = _power_of_two(exponent - bits)
    high = torch.round(matrix / unit) * unit
    fine = _power_of_two(exponent - 2 * bits)
    return high, torch.round((matrix - high) / fine) * fine


def _power_of_two(exponent: torch.Tensor) -> torch.Tensor:
    """Return ``2 ** exponent``, exactly, by writing the exponent bits of a double."""
    return ((exponent.long() + 1023) << 52).view(torch.float64)


def _wave(angle: torch.Tensor, ahead: int) -> torch.Tensor:
    """Return ``sin(angle + ahead * pi / 2)``.

    ``angle = n pi/2 + r`` with an integer ``n`` and ``|r| <= pi/4`` (Cody and Waite's reduction);
    ``(n + ahead) mod 4`` decides between the Taylor series of the sine and the cosine of ``r``, and
    the sign.
    """
    wide = angle.double()
    quarters = torch.round(wide * (2 / math.pi))
    rest = _rest(wide, quarters, _HALF_PI)
    square = rest * rest
    quadrant = torch.remainder(quarters + ahead, 4)
    odd = torch.remainder(quadrant, 2) == 1
    value = torch.where(odd, _series(_COSINE, square), rest * _series(_SINE, square))
    return torch.where(quadrant >= 2, -value, value).to(angle.dtype)


def _rest(value: torch.Tensor, count: torch.Tensor, parts: Sequence[float]) -> torch.Tensor:
    """Return ``value - count * sum(parts)``, subtracting the parts one after the other."""
    for part in parts:
        value = value - count * part
    return value


def _series(coefficients: Sequence[float], value: torch.Tensor) -> torch.Tensor:
    """Return the value of the polynomial with ``coefficients``, the constant first (Horner)."""
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
