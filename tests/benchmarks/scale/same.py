"""Whether two results are the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

_CHUNK = 1 << 24


def different_tensors(one: Path, other: Path) -> list[str]:
    """Return the names of tensors that two folders of safetensors do not both hold, with the same
    type, shape and bytes; how they are spread over files means nothing."""
    first, second = _tensors(one), _tensors(other)
    return sorted(
        name
        for name in {*first, *second}
        if name not in first or name not in second or not first[name].same(second[name])
    )


def different_files(one: Path, other: Path, names: tuple[str, ...]) -> list[str]:
    """Return those of ``names`` that are not the same in both folders."""
    return [
        name
        for name in names
        if (one / name).stat().st_size != (other / name).stat().st_size
        or any(a != b for a, b in zip(_chunks(one / name), _chunks(other / name), strict=True))
    ]


class _Tensor:
    """Where the bytes of a tensor lie."""

    def __init__(self, path: Path, kind: tuple[str, tuple[int, ...]], begin: int, end: int) -> None:
        self._path = path
        self._kind = kind
        self._begin = begin
        self._end = end

    def same(self, other: _Tensor) -> bool:
        """Return whether type, shape and bytes are those of ``other``."""
        return self._kind == other._kind and all(
            a == b for a, b in zip(self._bytes(), other._bytes(), strict=True)
        )

    def _bytes(self) -> Iterator[bytes]:
        return _chunks(self._path, self._begin, self._end - self._begin)


def _tensors(folder: Path) -> dict[str, _Tensor]:
    """Read the headers: https://github.com/huggingface/safetensors#format."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        for name, entry in header.items():
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            found[name] = _Tensor(path, (entry["dtype"], tuple(entry["shape"])), begin, end)
    return found


def _chunks(path: Path, begin: int = 0, length: int | None = None) -> Iterator[bytes]:
    left = path.stat().st_size - begin if length is None else length
    with path.open("rb") as file:
        file.seek(begin)
        while left:
            chunk = file.read(min(left, _CHUNK))
            left -= len(chunk)
            yield chunk
