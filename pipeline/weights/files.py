"""Which files of a checkpoint folder hold its weights, and what their headers say.

One rule for all who read a checkpoint, and it is that of transformers
(``_get_resolved_checkpoint_files`` in ``modeling_utils.py``): ``model.safetensors`` where it is
there, else the files that ``model.safetensors.index.json`` names. No other file of a folder counts:
neither a shard of an older version nor Mistral's ``consolidated.safetensors``. Free of any ML
library.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.contract.errors import StepError
from pipeline.contract.space import Shape
from pipeline.reading.files import decoded
from pipeline.reading.json_text import parse_json, read_json

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
"""Says which file a tensor lies in, where there are several."""

_MOST = 1 << 63
"""More than any size or offset can be."""
MAX_HEADER = 100_000_000
"""Limit that the safetensors format sets for its JSON header, in bytes."""


@dataclass(frozen=True)
class StoredTensor:
    """One tensor, as the header of its file describes it."""

    file: Path
    dtype: str
    """As safetensors writes it: ``F32``, ``BF16``, ..."""
    shape: Shape
    begin: int
    """Position of its first byte in the file."""
    end: int
    """Position after its last byte."""


def weight_files(folder: Path) -> tuple[Path, ...]:
    """Return the safetensors files with the weights of ``folder``, by name; none if there are none.

    Raises :class:`StepError` where the index is broken or names a file that is not there.
    """
    single, index = folder / SINGLE_FILE, folder / INDEX_FILE
    if single.is_file():
        return (single,)
    if not index.is_file():
        return ()
    names = sorted(set(_weight_map(index).values()))
    outside = [name for name in names if PurePosixPath(name).name != name]
    if outside:
        raise _broken(f"{INDEX_FILE} names files outside the folder: {', '.join(outside)}")
    missing = [name for name in names if not _is_file(folder / name)]
    if missing:
        raise _broken(f"weight shards are missing: {', '.join(missing)}", "copy the whole folder")
    return tuple(folder / name for name in names)


def tensors_of(folder: Path) -> Mapping[str, StoredTensor]:
    """Return every tensor of :func:`weight_files` by its name, from the headers alone.

    Raises :class:`StepError` for a file that is cut short or is no safetensors file, and where two
    files hold a tensor of the same name.
    """
    tensors: dict[str, StoredTensor] = {}
    for file in weight_files(folder):
        for name, tensor in stored_in(file).items():
            if name in tensors:
                raise _broken(f"{tensors[name].file.name} and {file.name} both hold {name}")
            tensors[name] = tensor
    return tensors


def _weight_map(index: Path) -> Mapping[str, str]:
    try:
        weight_map = read_json(index)["weight_map"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _broken(f"{INDEX_FILE} cannot be read: {error!r}", "copy the whole folder") from error
    if not isinstance(weight_map, dict) or not weight_map:
        raise _broken(f"{INDEX_FILE} names no tensor", "copy the whole folder")
    if not all(isinstance(name, str) for name in weight_map.values()):
        raise _broken(f"{INDEX_FILE} names what is no file", "copy the whole folder")
    return weight_map


def stored_in(file: Path) -> Mapping[str, StoredTensor]:
    """Return every tensor of one file by its name, from its header: eight bytes of length (little
    endian), then JSON, then the tensors end to end
    (https://huggingface.co/docs/safetensors, format).

    Raises :class:`StepError` for a file that is cut short or is no safetensors file.
    """
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 0 < length <= MAX_HEADER:
            raise _broken(f"{file.name} is not a safetensors file")
        try:
            header = parse_json(decoded(stream.read(length)))
        except ValueError as error:
            raise _broken(f"the header of {file.name} cannot be read: {error}") from error
    if not isinstance(header, dict):
        raise _broken(f"the header of {file.name} is not an object")
    tensors = {
        name: _tensor(file, name, entry, 8 + length)
        for name, entry in header.items()
        if name != "__metadata__"
    }
    size = file.stat().st_size
    needed = max((tensor.end for tensor in tensors.values()), default=0)
    if size < needed:
        raise _broken(
            f"{file.name} is cut short: it has {size:,} of {needed:,} bytes", "copy it again"
        )
    return tensors


def _tensor(file: Path, name: str, entry: Any, data: int) -> StoredTensor:
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [begin, end]}:
            numbers = (*shape, begin, end)
            sizes = all(type(number) is int and 0 <= number < _MOST for number in numbers)
            if sizes and begin <= end:
                return StoredTensor(file, dtype, tuple(shape), data + begin, data + end)
    shown = json.dumps(entry)[:80]
    raise _broken(f"the header of {file.name} cannot be read: it describes {name} as {shown}")


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises for names that are too long


def _broken(message: str, hint: str = "") -> StepError:
    return StepError(message, hint, "bad_input")
