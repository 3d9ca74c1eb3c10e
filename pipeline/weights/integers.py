"""Matrices as integers with scales and zero points, and the checkpoint format of GPTQ's tools.

A weight is ``(q - zero) * scale``, with one scale and zero point for each block of ``block_size``
inputs of an output. In files, a linear layer ``NAME`` is four tensors: ``NAME.qweight`` has the
integers ``[inputs, outputs]``, several of consecutive inputs to a 32-bit word, the first in its low
bits; ``NAME.qzeros`` has the zero points ``[blocks, outputs]``, less one, of consecutive outputs to
a word; ``NAME.scales`` is ``[blocks, outputs]`` in fp16; ``NAME.g_idx`` says which block an input
belongs to. So AutoGPTQ wrote it, and so its successors read it (``checkpoint_format`` ``gptq``).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.contract.errors import StepError
from pipeline.weights.files import StoredTensor

Array = Any
"""A NumPy array: importing this module needs no NumPy."""

PARTS = ("qweight", "qzeros", "scales", "g_idx")
_WORD = 32


@dataclass(frozen=True)
class Integers:
    """A matrix [outputs, inputs] as integers."""

    values: Array
    """[outputs, inputs], uint8."""
    scales: Array
    """[outputs, blocks], float16."""
    zeros: Array
    """[outputs, blocks], uint8."""
    bits: int
    block_size: int

    @property
    def weights(self) -> Array:
        """Return the numbers that it stands for, in float32."""
        import numpy as np

        centred = self.values.astype(np.float32) - self.spread(self.zeros)
        return centred * self.spread(self.scales)

    def spread(self, table: Array) -> Array:
        """Return scales or zero points with one for each weight, in float32."""
        import numpy as np

        return np.repeat(table.astype(np.float32), self.block_size, axis=1)

    def stored(self) -> dict[str, Array]:
        """Return its tensors as they lie in files."""
        import numpy as np

        inputs = self.values.shape[1]
        return {
            "qweight": _packed(self.values.T, self.bits),
            "qzeros": np.ascontiguousarray(_packed((self.zeros - 1), self.bits).T),
            "scales": np.ascontiguousarray(self.scales.T),
            "g_idx": np.arange(inputs, dtype=np.int32) // self.block_size,
        }

    @classmethod
    def of_stored(cls, tensors: Mapping[str, Array], bits: int, block_size: int) -> Integers:
        """Return what :meth:`stored` returned the tensors of.

        Raises ``ValueError`` where they are not tensors of one matrix in blocks of consecutive
        inputs.
        """
        import numpy as np

        qweight, qzeros, scales, g_idx = (tensors[part] for part in PARTS)
        each = _WORD // bits
        inputs, outputs = qweight.shape[0] * each, qweight.shape[1]
        blocks = -(-inputs // block_size)
        if (
            scales.shape != (blocks, outputs)
            or qzeros.shape != (blocks, outputs // each)
            or not np.array_equal(g_idx, np.arange(inputs) // block_size)
        ):
            raise ValueError(f"no matrix of {bits} bits in blocks of {block_size}")
        zeros = _unpacked(np.ascontiguousarray(qzeros.T), bits)
        return cls(
            values=np.ascontiguousarray(_unpacked(qweight, bits).T),
            scales=np.ascontiguousarray(scales.T),
            zeros=(zeros + 1) & ((1 << bits) - 1),
            bits=bits,
            block_size=block_size,
        )


def can_be_stored(shape: tuple[int, int], bits: int, block_size: int) -> bool:
    """Return whether the format has a matrix of ``shape`` [outputs, inputs]: in whole words and
    whole blocks."""
    outputs, inputs = shape
    each = _WORD // bits
    return inputs % block_size == 0 and inputs % each == 0 and outputs % each == 0


def quantization_config(bits: int, block_size: int, symmetric: bool) -> dict[str, Any]:
    """Return what ``config.json`` says of a checkpoint with such matrices."""
    return {
        "quant_method": "gptq",
        "checkpoint_format": "gptq",
        "bits": bits,
        "group_size": block_size,
        "sym": symmetric,
        "desc_act": False,
        "lm_head": False,
    }


def _packed(values: Array, bits: int) -> Array:
    """Return ``values`` [n, columns] with ``32 / bits`` rows to a word."""
    import numpy as np

    each = _WORD // bits
    words = np.zeros((values.shape[0] // each, values.shape[1]), np.uint32)
    mask = np.uint32((1 << bits) - 1)
    for at in range(each):
        words |= (values[at::each].astype(np.uint32) & mask) << np.uint32(at * bits)
    return words.view(np.int32)


def _unpacked(words: Array, bits: int) -> Array:
    """Return what :func:`_packed` packed."""
    import numpy as np

    shifts = np.arange(0, _WORD, bits, dtype=np.uint32)[None, :, None]
    values = (words.view(np.uint32)[:, None] >> shifts) & np.uint32((1 << bits) - 1)
    return values.astype(np.uint8).reshape(-1, words.shape[1])


class IntegerCheckpoint:
    """The matrices of a checkpoint that are stored as integers, read on demand.

    Usable in a ``with`` statement only.
    """

    def __init__(self, config: Mapping[str, Any], stored: Mapping[str, StoredTensor]) -> None:
        """``config`` is what its ``config.json`` says, ``stored`` the headers of its files."""
        said = config.get("quantization_config")
        table: Mapping[str, Any] = said if isinstance(said, Mapping) else {}
        bits, size = table.get("bits"), table.get("group_size")
        known = table.get("quant_method"), table.get("checkpoint_format", "gptq")
        if known != ("gptq", "gptq") or bits not in (4, 8) or not isinstance(size, int) or size < 1:
            raise StepError("the checkpoint has no matrices in GPTQ's format", cause="bad_input")
        self.bits: int = bits
        self.block_size: int = size
        self._stored = stored
        self._open = ExitStack()
        self._files: dict[Path, Any] = {}

    def __enter__(self) -> IntegerCheckpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.clear()
        self._open.close()

    @cached_property
    def names(self) -> frozenset[str]:
        """Return the names of the weights that are stored as integers, as the checkpoint that they
        were made of has them."""
        suffix = f".{PARTS[0]}"
        return frozenset(
            f"{name.removesuffix(suffix)}.weight" for name in self._stored if name.endswith(suffix)
        )

    def rows(self, name: str) -> int:
        """Return the number of outputs of the weight ``name``."""
        return self._stored[f"{name.removesuffix('.weight')}.{PARTS[0]}"].shape[1]

    def read(self, name: str) -> Integers:
        """Return the weight ``name``. Raises :class:`StepError` where it is not whole."""
        layer = name.removesuffix(".weight")
        try:
            tensors = {part: self._tensor(f"{layer}.{part}") for part in PARTS}
            return Integers.of_stored(tensors, self.bits, self.block_size)
        except (KeyError, ValueError) as error:
            raise StepError(f"the integers of {name} are broken: {error}") from error

    def _tensor(self, name: str) -> Array:
        from safetensors import safe_open

        file = self._stored[name].file
        if file not in self._files:
            self._files[file] = self._open.enter_context(safe_open(file, framework="np"))
        return self._files[file].get_tensor(name)
