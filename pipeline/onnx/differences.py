"""What differs between two model folders that should be the same, in words.

Each function returns one sentence per difference, of ``ours`` from ``theirs``; none if there is
none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.onnx.graph import OnnxModel, byte_size

_SHOWN = 80
"""Characters of a value that a sentence shows."""
_DATA = (
    *("data_location", "external_data", "raw_data", "float_data", "int32_data", "string_data"),
    *("int64_data", "double_data", "uint64_data"),
)
"""Fields of a tensor that hold its values, or say where they are."""
_PLACE = ("location", "offset", "length")
_PAGE = 4096
"""What writers align large tensors to a multiple of."""


def graph_differences(ours: OnnxModel, theirs: OnnxModel) -> list[str]:
    """Compare everything in two graphs except the values of initializers."""
    found = [
        *_nodes(ours, theirs),
        *_named("initializer", _tensors(ours), _tensors(theirs)),
        *_named("input", _values(ours.graph.input), _values(theirs.graph.input)),
        *_named("output", _values(ours.graph.output), _values(theirs.graph.output)),
        *_named("operator set", _operators(ours), _operators(theirs)),
    ]
    if not found and _bare(ours) != _bare(theirs):
        return ["the order of the nodes, or what is noted beside them, is another"]
    return found


def place_differences(ours: OnnxModel, data: str) -> list[str]:
    """Compare where the bytes of weights lie with where ``onnx_ir`` puts them, and say the first
    difference: they lie one after the other in the file ``data``, in the order of the graph, and
    nothing else does."""
    end = 0
    for name, tensor in ours.initializers.items():
        size = byte_size(tensor)
        if not size:
            continue
        place = {entry.key: entry.value for entry in tensor.external_data}
        if tuple(place) != _PLACE or place["location"] != data:
            return [f"{name} lies at {_short(place)}, not in {data} alone"]
        inside = {field.name for field, _ in tensor.ListFields()} & {*_DATA}
        if extra := sorted(inside - {"data_location", "external_data"}):
            return [f"{name} has {', '.join(extra)} besides what lies in {data}"]
        aligned = -(-end // _PAGE) * _PAGE
        begin = end if place["offset"] == str(end) else aligned
        if (place["offset"], place["length"]) != (str(begin), str(size)):
            at = f"{place['length']} bytes at {place['offset']}"
            return [f"{name} lies in {_short(at)} of {data}, not in {size} at {end}"]
        end = begin + size
    file = ours.path.parent / data
    there = file.stat().st_size if file.is_file() else 0
    return [] if there == end else [f"{data} has {there} bytes, and its weights {end}"]


def file_differences(ours: Path, theirs: Path) -> list[str]:
    """Compare two text files; those with JSON by what they say, not by how they are written."""
    mine, wanted = ours.read_bytes(), theirs.read_bytes()
    if mine == wanted:
        return []
    name = theirs.name
    if name.endswith(".json"):
        try:
            pairs = json_differences(_parsed(mine), _parsed(wanted))
        except (ValueError, RecursionError) as error:
            return [f"{name} cannot be read: {error}"]
        return [f"{name}: {difference}" for difference in pairs]
    lines = (text.decode("utf-8", "replace").splitlines() for text in (mine, wanted))
    for number, (line, other) in enumerate(zip(*lines, strict=False), start=1):
        if line != other:
            return [f"{name}:{number}: {_short(line)}, not {_short(other)}"]
    return [f"{name} has {len(mine)} bytes, not {len(wanted)}"]


def _parsed(content: bytes) -> Any:
    """Return JSON. Raises ``ValueError`` also where a name stands twice, since readers choose
    either, and for other encodings than UTF-8 without a mark: runtimes read nothing else."""

    def distinct(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            names = [name for name, _ in pairs]
            raise ValueError(f"{max(names, key=names.count)} stands twice")
        return dict(pairs)

    return json.loads(content.decode("utf-8"), object_pairs_hook=distinct)


def json_differences(ours: Any, theirs: Any, place: str = "") -> Iterator[str]:
    """Yield what differs in two JSON values; ``place`` is where they stand."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for name in dict.fromkeys([*theirs, *ours]):
            inner = f"{place}.{name}" if place else str(name)
            if name not in ours:
                yield f"{inner} is missing"
            elif name not in theirs:
                yield f"{inner} is {_short(ours[name])} and should not be there"
            else:
                yield from json_differences(ours[name], theirs[name], inner)
    elif _are_long(ours, theirs):
        if len(ours) != len(theirs):
            yield f"{place} has {len(ours)} entries, not {len(theirs)}"
        for number, (one, other) in enumerate(zip(ours, theirs, strict=False)):
            yield from json_differences(one, other, f"{place}[{number}]")
    elif type(ours) is not type(theirs) or _text(ours) != _text(theirs):  # 1 == 1.0 == true
        yield f"{place} is {_short(ours)}, not {_short(theirs)}"


def _are_long(ours: Any, theirs: Any) -> bool:
    """Return whether both are lists of which it would not help to see the whole."""
    both = isinstance(ours, list) and isinstance(theirs, list)
    return both and len(_text(theirs)) > _SHOWN


def _nodes(ours: OnnxModel, theirs: OnnxModel) -> Iterator[str]:
    mine, wanted = _by_name(ours.nodes), _by_name(theirs.nodes)
    yield from (f"{name} is missing" for name in wanted.keys() - mine.keys())
    yield from (f"{name} should not be there" for name in mine.keys() - wanted.keys())
    for name, node in wanted.items():
        if name in mine:
            yield from (f"{name}: {text}" for text in _node(mine[name], node))


def _node(ours: Any, theirs: Any) -> Iterator[str]:
    for field in ("op_type", "domain", "input", "output"):
        mine, wanted = getattr(ours, field), getattr(theirs, field)
        if mine != wanted:
            yield f"{field} is {_short(_plain(mine))}, not {_short(_plain(wanted))}"
    mine, wanted = _attributes(ours), _attributes(theirs)
    for name in sorted(mine.keys() | wanted.keys()):
        if mine.get(name) != wanted.get(name):
            yield f"{name} is {_shown(ours, name)}, not {_shown(theirs, name)}"


def _attributes(node: Any) -> dict[str, bytes]:
    return {item.name: item.SerializeToString(deterministic=True) for item in node.attribute}


def _shown(node: Any, name: str) -> str:
    """Return the value of an attribute in words."""
    import onnx

    found = next((item for item in node.attribute if item.name == name), None)
    if found is None:
        return "not there"
    if found.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.TENSOR):
        return "another"
    return _short(onnx.helper.get_attribute_value(found))


def _named(what: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(ours.keys() | theirs.keys()):
        mine, wanted = ours.get(name, "missing"), theirs.get(name, "not one")
        if mine != wanted:
            yield f"{what} {name} is {_short(mine)}, not {_short(wanted)}"


def _by_name(nodes: Sequence[Any]) -> dict[str, Any]:
    return {node.name or ", ".join(node.output): node for node in nodes}


def _tensors(model: OnnxModel) -> dict[str, str]:
    import onnx

    kind = onnx.TensorProto.DataType.Name
    return {
        name: f"{kind(tensor.data_type)}{list(tensor.dims)}"
        for name, tensor in model.initializers.items()
    }


def _values(values: Sequence[Any]) -> dict[str, str]:
    return {value.name: " ".join(str(value.type).split()) for value in values}


def _operators(model: OnnxModel) -> dict[str, int]:
    return {item.domain or "ai.onnx": item.version for item in model.proto.opset_import}


def _bare(model: OnnxModel) -> bytes:
    """Return the file without the values of initializers."""
    import onnx

    bare = onnx.ModelProto()
    bare.CopyFrom(model.proto)
    for tensor in bare.graph.initializer:
        for field in _DATA:
            tensor.ClearField(field)
    return bytes(bare.SerializeToString(deterministic=True))


def _plain(value: Any) -> Any:
    return value if isinstance(value, str) else list(value)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _short(value: Any) -> str:
    text = _text(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
