"""Reads the header of a GGUF file: its metadata, and which tensors it holds.

The format is https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Nothing that a file says is
believed: every length is held to the bytes that are left before anything of that length is read,
and a header is read up to :data:`MAX_HEADER` only. Free of any ML library.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Union

from pipeline.contract.errors import StepError
from pipeline.contract.space import Shape
from pipeline.gguf.formats import FORMATS, Format

MAGIC = b"GGUF"
VERSIONS = (2, 3)
"""Version 1 counted in 32 bits; no program writes it any more."""
MAX_HEADER = 200_000_000
"""Longest header that is read, in bytes. One with 260,000 tokens and their merges has 15 million.
"""
_MAX_ITEMS = 5_000_000
"""Longest array of numbers that is read. They take much more memory than in the file."""
_MAX_DIMENSIONS = 4
_ALIGNMENT = "general.alignment"
_DEFAULT_ALIGNMENT = 32

Value = Union[bool, int, float, str, "tuple[Value, ...]"]

# The types of values, by their numbers in the file: formats of `struct`, and the two without one.
_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class GgufTensor:
    """One tensor, as the header describes it."""

    shape: Shape
    """Rows first, as PyTorch has it; the file lists the sizes in reverse."""
    format: Format | None
    """``None`` for a format that cannot be turned back into plain numbers."""
    type_number: int
    """The number that stands for the format in the file."""

    @property
    def elements(self) -> int:
        """Return the number of its elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class GgufHeader:
    """What a GGUF file says of itself."""

    metadata: Mapping[str, Value]
    tensors: Mapping[str, GgufTensor]

    def text(self, key: str) -> str:
        """Return the text under ``key``; empty if there is none."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> float | None:
        """Return the number under ``key``; ``None`` if there is none."""
        value = self.metadata.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        return float(value)

    def items(self, key: str) -> tuple[Value, ...]:
        """Return the array under ``key``; empty if there is none."""
        value = self.metadata.get(key)
        return value if isinstance(value, tuple) else ()

    @property
    def architecture(self) -> str:
        """Return the name of the model's architecture, as llama.cpp has it."""
        return self.text("general.architecture")

    @property
    def main_format(self) -> Format | None:
        """Return the format of most numbers; ``None`` if that is not known."""
        sizes: dict[Format | None, int] = {}
        for tensor in self.tensors.values():
            sizes[tensor.format] = sizes.get(tensor.format, 0) + tensor.elements
        return max(sizes, key=lambda one: sizes[one], default=None)


def read_header(file: Path) -> GgufHeader:
    """Return the header of ``file``.

    Raises :class:`StepError` of the cause ``bad_input`` where it is not a whole GGUF file.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        if stream.read(len(MAGIC)) != MAGIC:
            raise _broken("it is not a GGUF file")
        return _Reader(stream, size).header()


class _Reader:
    """Reads one file from after its magic number to the end of its header."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self._size = size
        self._left = min(size, MAX_HEADER) - len(MAGIC)

    def header(self) -> GgufHeader:
        version = self._scalar("I")
        if version not in VERSIONS:
            raise _broken(
                f"its version is {version}; {' and '.join(map(str, VERSIONS))} can be read",
                "convert the model again with a newer llama.cpp",
            )
        tensors, entries = self._count(24), self._count(12)
        metadata: dict[str, Value] = {}
        for _ in range(entries):
            key = self._text()
            if key in metadata:
                raise _broken(f"it has two values of {key}")
            metadata[key] = self._value(self._scalar("I"))
        return GgufHeader(metadata, self._tensors(tensors, metadata))

    def _tensors(self, number: int, metadata: Mapping[str, Value]) -> dict[str, GgufTensor]:
        found: dict[str, GgufTensor] = {}
        ends = {"": 0}
        for _ in range(number):
            name, tensor, offset = self._tensor()
            if name in found:
                raise _broken(f"it holds two tensors of the name {name}")
            found[name] = tensor
            if tensor.format is not None:
                blocks = tensor.elements // tensor.format.block_elements
                ends[name] = offset + blocks * tensor.format.bytes
        alignment = metadata.get(_ALIGNMENT, _DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1:
            raise _broken(f"its {_ALIGNMENT} is {alignment!r}")
        begin = -(-self._stream.tell() // alignment) * alignment
        last = max(ends, key=lambda name: ends[name])
        if last and begin + ends[last] > self._size:
            raise _broken(
                f"it is cut short: {last} would end at byte {begin + ends[last]:,} of "
                f"{self._size:,}",
                "copy it again",
            )
        return found

    def _tensor(self) -> tuple[str, GgufTensor, int]:
        name = self._text()
        dimensions = self._scalar("I")
        if not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise _broken(f"its tensor {name} has {dimensions} dimensions")
        sizes = [self._scalar("Q") for _ in range(dimensions)]
        number, offset = self._scalar("I"), self._scalar("Q")
        form = FORMATS.get(number)
        if 0 in sizes or (form is not None and sizes[0] % form.block_elements):
            raise _broken(f"the sizes {sizes} of its tensor {name} cannot be")
        return name, GgufTensor(tuple(reversed(sizes)), form, number), offset

    def _value(self, kind: int) -> Value:
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY:
            return self._numbers(kind, 1)[0]
        kind = self._scalar("I")
        if kind == _STRING:
            return tuple(self._text() for _ in range(self._count(8)))
        return self._numbers(kind, self._count(1))

    def _numbers(self, kind: int, number: int) -> tuple[Value, ...]:
        if kind not in _SCALARS:
            raise _broken(f"it has a value of the unknown type {kind}")
        if number > _MAX_ITEMS:
            raise _broken(f"it has an array of {number:,} numbers")
        form = f"<{number}{_SCALARS[kind]}"
        values: tuple[Value, ...] = struct.unpack(form, self._bytes(struct.calcsize(form)))
        return values

    def _scalar(self, form: str) -> int:
        (value,) = struct.unpack(f"<{form}", self._bytes(struct.calcsize(f"<{form}")))
        return int(value)

    def _count(self, least: int) -> int:
        """Read how many things follow, each of at least ``least`` bytes."""
        number = self._scalar("Q")
        if number * least > self._left:
            raise _broken(f"it says that {number:,} things follow where {self._left:,} bytes are")
        return number

    def _text(self) -> str:
        # A token may be part of a character; it is then no text of any other use either.
        return self._bytes(self._count(1)).decode("utf-8", "replace")

    def _bytes(self, number: int) -> bytes:
        self._left -= number
        read = self._stream.read(number) if self._left >= 0 else b""
        if len(read) != number:
            raise _broken("its header is cut short, or too long", "copy it again")
        return read


def _broken(message: str, hint: str = "") -> StepError:
    return StepError(message, hint, "bad_input")
