"""ONNX: which nodes, attributes and tensors differ, also of those in data files beside the model.

The model's own file is read whole; data files, which may have several GB, are mapped.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from targets.release.differences.onnx_walk import walk
from targets.release.differences.placed import Place, Placed, layout_differences
from targets.release.differences.quantized import Role, roles_in
from targets.release.differences.tensors import in_words
from targets.release.differences.text_lines import both


def data_files(model: Path) -> frozenset[str]:
    """Return the files that a model's tensors lie in, as paths from its folder; none where the
    model cannot be read."""
    try:
        return frozenset(map(location_of, tensors_of(_read(model, "")))) - {""}
    except Unreadable:
        return frozenset()


def differences(pair: Pair) -> Iterator[Difference]:
    """Yield what differs in a model, and in its data files under their names.

    A data file that only one side has is left to who compares the folders.
    """
    released, rebuilt = (_read(path, side) for path, side in both(pair))
    files = DataFiles(pair.released.parent), DataFiles(pair.rebuilt.parent)
    roles = roles_in(released.graph), roles_in(rebuilt.graph)
    for found in walk(released, rebuilt):
        if found.tensors is not None:
            known = roles[0].get(found.tensors[0].name)
            if known != roles[1].get(found.tensors[0].name):
                known = None
            yield from _tensor(pair.name, found.where, found.tensors, files, known)
        else:
            yield Difference(file=pair.name, where=found.where, what=found.what, size=found.size)
    places = _places(released, files[0]), _places(rebuilt, files[1])
    for location in places[0].keys() & places[1].keys():
        yield from layout_differences(
            _beside(pair.name, location),
            Placed(files[0][location], places[0][location]),
            Placed(files[1][location], places[1][location]),
        )


def _tensor(
    model: str,
    where: str,
    protos: tuple[Any, Any],
    files: tuple[DataFiles, DataFiles],
    role: Role | None,
) -> Iterator[Difference]:
    released, rebuilt = protos
    if where.startswith("tensor "):  # not one of a node's attributes
        where = str(released.name)
    location = location_of(rebuilt)
    file = _beside(model, location) if location else model
    if location != location_of(released):
        places = [f"in {location_of(one) or 'the model itself'}" for one in protos]
        what = f"stored {places[0]} released, {places[1]} rebuilt"
        yield Difference(file=model, where=where, what=what)
    if released.doc_string != rebuilt.doc_string:
        yield Difference(file=model, where=where, what="its doc_string differs")
    tensors, wrong = [], []
    for proto, side, stored in zip(protos, ("released", "rebuilt"), files, strict=True):
        try:
            tensors.append(stored.read(proto))
        except NoFile:
            return
        except NotStored as error:
            wrong.append(f"the {side} tensor is damaged: {error}")
    if wrong:
        yield Difference(file=file, where=where, what="; ".join(wrong))
        return
    old, new = tensors
    if role is not None and (old.dtype, old.shape) == (new.dtype, new.shape):
        old, new = role.seen(old), role.seen(new)
    what, size = in_words(old, new, role.steps if role is not None else 0)
    if what:
        if (old.dtype, old.shape) == (new.dtype, new.shape) and not what.startswith("the "):
            label = f"{role}" if role is not None and role.bits else f"{old}"
            what = f"{label}{f', {role}' if role is not None and not role.bits else ''}: {what}"
        elif (dtype_of(released), released.dims) != (dtype_of(rebuilt), rebuilt.dims):
            file = model  # what type a tensor has is written there
        yield Difference(file=file, where=where, what=what, size=size)


def _places(model: Any, files: DataFiles) -> dict[str, dict[str, Place]]:
    """Return where tensors lie, by data file and name; those that are nowhere are left out."""
    found: dict[str, dict[str, Place]] = {}
    for proto in tensors_of(model):
        try:
            place = files.place(proto)
        except NotStored:
            continue
        if place is not None:
            found.setdefault(location_of(proto), {})[str(proto.name)] = place
    return found


def _beside(model: str, location: str) -> str:
    return str(PurePosixPath(model).parent / location)


def _read(path: Path, side: str) -> Any:
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's DecodeError; its module is not onnx's to hand out
        raise Unreadable(side, f"as ONNX: {error}") from None
    if not model.HasField("graph"):
        raise Unreadable(side, "as ONNX: it holds no graph")
    return model
