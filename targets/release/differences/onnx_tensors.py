"""Where the tensors of an ONNX model lie: in the model's file, or in a file beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import onnx
from onnx import TensorProto, numpy_helper

from targets.release.differences.tensors import Tensor, as_bytes, mapped

_BY_NUMBER = {number: name.lower() for name, number in TensorProto.DataType.items()}
_OTHER_NAMES = {
    "float": "float32",
    "double": "float64",
    "float8e4m3fn": "float8_e4m3fn",
    "float8e4m3fnuz": "float8_e4m3fnuz",
    "float8e5m2": "float8_e5m2",
    "float8e5m2fnuz": "float8_e5m2fnuz",
    "float8e8m0": "float8_e8m0fnu",
    "float4e2m1": "float4_e2m1fn",
    "undefined": "unknown type",
}


class NotStored(Exception):
    """The bytes of a tensor are not where the model says."""


class NoFile(NotStored):
    """The file that should hold them is not there."""


@dataclass
class DataFiles:
    """The files beside one side's model, each mapped once."""

    folder: Path
    _open: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, location: str) -> Any:
        """Return a file's bytes. Raises ``NotStored`` or ``NoFile``."""
        if location not in self._open:
            relative = PurePosixPath(location)
            if not location or relative.is_absolute() or ".." in relative.parts:
                raise NotStored(f"it should lie in {location!r}, outside the model's folder")
            path = self.folder / relative
            if not path.is_file():
                raise NoFile(f"{location} is missing")
            if not path.resolve().is_relative_to(self.folder.resolve()):
                raise NotStored(f"{location} is a link that leads outside the model's folder")
            self._open[location] = mapped(path)
        return self._open[location]

    def read(self, proto: Any) -> Tensor:
        """Return a tensor. Raises ``NotStored`` where its bytes are not there."""
        place = self._place(proto)
        if place is not None:
            data = self[location_of(proto)]
            if place.stop > len(data):
                raise NotStored(
                    f"its bytes are {place.start:,} to {place.stop - 1:,} of "
                    f"{location_of(proto)}, which has {len(data):,}"
                )
            data = data[place]
        else:
            data = as_bytes(_own_bytes(proto))
        return Tensor(proto.name, dtype_of(proto), tuple(proto.dims), data)

    def _place(self, proto: Any) -> slice | None:
        """Return which bytes of its data file a tensor has; None for one in the model itself.

        Raises ``NotStored`` where the file is not there or what the model says is no place.
        """
        if proto.data_location != TensorProto.EXTERNAL:
            return None
        entries = {entry.key: entry.value for entry in proto.external_data}
        data = self[location_of(proto)]
        try:
            start = int(entries.get("offset", "0"))
            length = int(entries["length"]) if "length" in entries else len(data) - start
        except ValueError:
            raise NotStored(f"its place is described as {entries}") from None
        if start < 0 or length < 0:
            raise NotStored(f"its place is described as {entries}")
        return slice(start, start + length)


def location_of(proto: Any) -> str:
    """Return the file that holds a tensor's bytes; empty where that is the model itself."""
    if proto.data_location != TensorProto.EXTERNAL:
        return ""
    return next((str(one.value) for one in proto.external_data if one.key == "location"), "")


def dtype_of(proto: Any) -> str:
    """Return a tensor's type as NumPy names it."""
    name = _BY_NUMBER.get(proto.data_type, f"unknown type {proto.data_type}")
    return str(_OTHER_NAMES.get(name, name))


def tensors_of(message: Any) -> Iterator[Any]:
    """Yield every tensor of a model, also of nested graphs."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        for one in value if descriptor.is_repeated else (value,):
            yield from tensors_of(one)


def _own_bytes(proto: Any) -> bytes:
    if proto.HasField("raw_data"):
        return bytes(proto.raw_data)
    if proto.data_type == TensorProto.STRING:
        return b"\0".join(proto.string_data)
    try:
        return bytes(numpy_helper.from_array(numpy_helper.to_array(proto)).raw_data)
    except Exception as error:  # what it raises on wrong fields is not documented
        raise NotStored(f"its values cannot be read: {error}") from None
