"""Checks that a model file is complete: external data, order of nodes, unused weights.

Each function returns a list of problems, one sentence each; an empty list if there are none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pipeline.onnx.graph import External, OnnxModel, byte_size, external

_ALIGNMENT = 1 << 16
"""Largest gap between two tensors that alignment can cause, in bytes: Windows' granularity of
memory mapping, the coarsest that ONNX's writers pad to."""


def external_data(model: OnnxModel) -> list[str]:
    """Check that all bytes of initializers are inside their file, do not overlap, and fill it."""
    problems: list[str] = []
    used: dict[str, list[tuple[External, str]]] = {}
    for name, tensor in model.initializers.items():
        try:
            place = external(tensor)
        except ValueError as error:
            problems.append(f"{name}: its external data entry is broken: {error}")
            continue
        if place is None:
            continue
        wrong = _location_problem(model.path.parent, place.location)
        if wrong is not None:
            problems.append(f"{name}: {wrong}")
            continue
        needed = byte_size(tensor)
        if place.length is not None and place.length != needed:
            problems.append(f"{name}: {place.length} bytes stored, its shape needs {needed}")
        used.setdefault(place.location, []).append(
            (External(place.location, place.offset, needed), name)
        )
    for location, pieces in used.items():
        problems += _file_problems(model.path.parent / location, pieces)
    return problems


def stray_files(model: OnnxModel) -> list[str]:
    """Find data files in the folder that the graph does not use."""
    used = {place.location for place in map(external, model.initializers.values()) if place}
    return [
        f"{file.name} is not used by {model.path.name}"
        for file in sorted(model.path.parent.iterdir())
        if file.suffix in {".data", ".onnx"} and file != model.path and file.name not in used
    ]


def structure(model: OnnxModel) -> list[str]:
    """Check that nodes are in order, names are defined once, and operator sets are declared."""
    problems: list[str] = []
    graph = model.graph
    known = {value.name for value in graph.input} | set(model.initializers) | {""}
    domains = {item.domain for item in model.proto.opset_import}
    for node in graph.node:
        problems += [
            f"{node.name or node.op_type} reads {name}, which nothing before it makes"
            for name in node.input
            if name not in known
        ]
        for name in node.output:
            if name and name in known:
                problems.append(f"{name} is made twice")
            known.add(name)
        if node.domain not in domains:
            problems.append(f"{node.op_type}: operator set '{node.domain}' is not declared")
    problems += [
        f"output {value.name} is made by no node"
        for value in graph.output
        if value.name not in known
    ]
    return problems


def unused_weights(model: OnnxModel, result: str) -> list[str]:
    """Find matrices and norms that do not contribute to the output ``result``.

    A graph whose output layer reads from the wrong layer still runs and looks complete.
    """
    if result not in {value.name for value in model.graph.output}:
        return [f"the graph has no output {result}"]
    makers = {name: node for node in model.graph.node for name in node.output if name}
    needed: set[str] = set()
    waiting = [result]
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        needed.add(name)
        if name in makers:
            waiting.extend(_reads(makers[name]))
    return [
        f"{name} does not reach {result}"
        for name, tensor in model.initializers.items()
        if len(tensor.dims) >= 1 and math.prod(tensor.dims) > 1 and name not in needed
    ]


def _reads(node: object) -> Iterator[str]:
    """Yield the names that a node and its subgraphs read."""
    yield from node.input  # type: ignore[attr-defined]  # onnx ships no types
    for attribute in node.attribute:  # type: ignore[attr-defined]
        for graph in (attribute.g, *attribute.graphs):
            yield from (tensor.name for tensor in graph.initializer)
            for inner in graph.node:
                yield from _reads(inner)


def _location_problem(folder: Path, location: str) -> str | None:
    path = PurePosixPath(location)
    if not location or path.is_absolute() or ".." in path.parts or "\\" in location:
        return f"external data at '{location}' lies outside the model folder"
    file = folder / location
    if file.is_symlink() or not file.is_file():
        return f"external data file {location} does not exist"
    return None


def _is_empty(file: Path, begin: int, end: int) -> bool:
    """Return whether these bytes are zeros, as writers leave between tensors."""
    if begin == end:
        return True
    with file.open("rb") as stream:
        stream.seek(begin)
        return not any(stream.read(end - begin))


def _file_problems(file: Path, pieces: list[tuple[External, str]]) -> list[str]:
    size = file.stat().st_size
    problems = []
    end, before = 0, "the beginning of the file"
    for place, name in sorted(pieces, key=lambda piece: (piece[0].offset, piece[0].end)):
        if place.offset < 0 or place.end > size:
            problems.append(
                f"{name}: bytes {place.offset} to {place.end} are not inside {file.name}, "
                f"which has {size}"
            )
            continue
        if place.offset < end:
            problems.append(f"{name} overlaps {before} in {file.name}")
        elif place.offset - end > _ALIGNMENT or not _is_empty(file, end, place.offset):
            problems.append(f"{place.offset - end} unexplained bytes before {name} in {file.name}")
        if place.end > end:
            end, before = place.end, name
    if not problems and size - end > 0:
        problems.append(f"{size - end} unexplained bytes at the end of {file.name}")
    return problems
