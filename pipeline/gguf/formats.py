"""The number formats of tensors in GGUF files that can be turned back into plain numbers."""

from __future__ import annotations

from typing import NamedTuple

PLAIN_BITS = 16
"""Bits from which on numbers are as models are trained: nothing was quantized."""


class Format(NamedTuple):
    """How numbers are stored: in blocks of :attr:`block_elements`, each of :attr:`bytes` bytes."""

    name: str
    bits: int
    """Bits of a number, without its share of the block's scales."""
    block_elements: int
    bytes: int


FORMATS = {
    0: Format("F32", 32, 1, 4),
    1: Format("F16", 16, 1, 2),
    2: Format("Q4_0", 4, 32, 18),
    3: Format("Q4_1", 4, 32, 20),
    6: Format("Q5_0", 5, 32, 22),
    7: Format("Q5_1", 5, 32, 24),
    8: Format("Q8_0", 8, 32, 34),
    10: Format("Q2_K", 2, 256, 84),
    11: Format("Q3_K", 3, 256, 110),
    12: Format("Q4_K", 4, 256, 144),
    13: Format("Q5_K", 5, 256, 176),
    14: Format("Q6_K", 6, 256, 210),
    16: Format("IQ2_XXS", 2, 256, 66),
    17: Format("IQ2_XS", 2, 256, 74),
    18: Format("IQ3_XXS", 3, 256, 98),
    19: Format("IQ1_S", 1, 256, 50),
    20: Format("IQ4_NL", 4, 32, 18),
    21: Format("IQ3_S", 3, 256, 110),
    22: Format("IQ2_S", 2, 256, 82),
    23: Format("IQ4_XS", 4, 256, 136),
    29: Format("IQ1_M", 1, 256, 56),
    30: Format("BF16", 16, 1, 2),
}
"""By the number that stands for the format in a file: ``enum ggml_type`` of
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md."""
