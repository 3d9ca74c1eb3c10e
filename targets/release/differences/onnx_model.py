"""ONNX: which tensors differ and by how much, also of those in data files beside the model.

The model's own file is read whole; data files, which may have several GB, are mapped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import onnx

from targets.release.differences.difference import Difference, Pair, Unreadable
from targets.release.differences.onnx_tensors import (
    DataFiles,
    NoFile,
    NotStored,
    dtype_of,
    location_of,
    tensors_of,
)
from targets.release.differences.quantized import Role, roles_in
from targets.release.differences.tensors import in_words


@dataclass(frozen=True)
class _Model:
    proto: Any
    tensors: dict[str, Any]
    """By name; those without one by their number."""
    roles: dict[str, Role]
    files: DataFiles


def data_files(model: Path) -> frozenset[str]:
    """Return the files that a model's tensors lie in, as paths from its folder; none where the
    model cannot be read."""
    try:
        return frozenset(map(location_of, _read(model, "").tensors.values())) - {""}
    except Unreadable:
        return frozenset()


def differences(pair: Pair) -> Iterator[Difference]:
    """Yield the tensors that differ, those in data files under these files' names, then whether
    anything else in the model does.

    A data file that only one side has is left to who compares the folders.
    """
    released, rebuilt = (_read(path, side) for path, side in pair.sides)
    for name, tensor in released.tensors.items():
        if name in rebuilt.tensors:
            yield from _tensor(pair.name, name, released, rebuilt)
        else:
            yield Difference(file=pair.name, where=name, what=f"only released: {_about(tensor)}")
    for name, tensor in rebuilt.tensors.items():
        if name not in released.tensors:
            yield Difference(file=pair.name, where=name, what=f"only rebuilt: {_about(tensor)}")
    if _without_tensors(released) != _without_tensors(rebuilt):
        message = "nodes, attributes, inputs, outputs or metadata differ"
        yield Difference(file=pair.name, where="graph", what=message)


def _tensor(model: str, name: str, released: _Model, rebuilt: _Model) -> Iterator[Difference]:
    location = location_of(rebuilt.tensors[name])
    file = str(PurePosixPath(model).parent / location) if location else model
    tensors, wrong = [], []
    for one, side in ((released, "released"), (rebuilt, "rebuilt")):
        try:
            tensors.append(one.files.read(one.tensors[name]))
        except NoFile:
            return
        except NotStored as error:
            wrong.append(f"the {side} tensor is damaged: {error}")
    if wrong:
        yield Difference(file=file, where=name, what="; ".join(wrong))
        return
    old, new = tensors
    alike = (old.dtype, old.shape) == (new.dtype, new.shape)
    role = released.roles.get(name)
    if role != rebuilt.roles.get(name) or not alike:
        role = None
    if role is not None:
        old, new = role.unpacked(old), role.unpacked(new)
    message, size = in_words(old, new, role.steps if role is not None else 0)
    if not message:
        return
    if not alike:
        file = model  # what type a tensor has is written there
    elif not message.startswith("the "):
        label = str(old) if role is None else str(role) if role.bits else f"{old}, {role}"
        message = f"{label}: {message}"
    yield Difference(file=file, where=name, what=message, size=size)


def _without_tensors(model: _Model) -> bytes:
    """Return all that a model holds but its tensors."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    del proto.graph.initializer[:]
    for tensor in tensors_of(proto):  # of attributes and nested graphs
        tensor.Clear()
    return bytes(proto.SerializeToString(deterministic=True))


def _about(tensor: Any) -> str:
    return f"{dtype_of(tensor)} {list(tensor.dims)}"


def _read(path: Path, side: str) -> _Model:
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's DecodeError; its module is not onnx's to hand out
        raise Unreadable(side, f"as ONNX: {error}") from None
    if not proto.HasField("graph"):
        raise Unreadable(side, "as ONNX: it holds no graph")
    tensors: dict[str, Any] = {}
    for number, tensor in enumerate(tensors_of(proto)):
        name = str(tensor.name)
        tensors[f"tensor {number}" if not name or name in tensors else name] = tensor
    return _Model(proto, tensors, roles_in(proto.graph), DataFiles(path.parent))
