"""What differs between two protobuf messages of ONNX, but for the values of tensors.

The walk goes by the fields that ``onnx.proto`` declares, so that nothing that a model holds is
overlooked. Parts of a list are matched by their name, not by their position.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from onnx.helper import printable_value_info

from targets.release.differences.text_lines import common_ends
from targets.release.differences.words import relative, share, short, sides

_LABELS = {
    "NodeProto": "node",
    "AttributeProto": "attribute",
    "OperatorSetIdProto": "opset",
    "StringStringEntryProto": "metadata",
    "FunctionProto": "function",
    "TensorProto": "tensor",
}
# The names of a list: `inputs` would be taken for those of a node.
_FIELDS = {"input": "input", "output": "output", "value_info": "value"}


@dataclass(frozen=True)
class Found:
    """A difference of the structure, or two tensors to be compared."""

    where: str
    what: str = ""
    size: float | None = None
    tensors: tuple[Any, Any] | None = None


def walk(released: Any, rebuilt: Any, place: tuple[str, ...] = ()) -> Iterator[Found]:
    """Yield what differs; every pair of tensors is yielded for the caller to compare."""
    kind = released.DESCRIPTOR.name
    if kind == "TensorProto":
        yield Found(", ".join(place), tensors=(released, rebuilt))
        return
    if kind == "ValueInfoProto":
        texts = _typed(released), _typed(rebuilt)
        if all(texts) and texts[0] != texts[1]:
            yield Found(", ".join(place), f"{texts[0]} released, {texts[1]} rebuilt")
            return
    for field in released.DESCRIPTOR.fields:
        old, new = getattr(released, field.name), getattr(rebuilt, field.name)
        # The fields of an attribute are its value: `attribute K` says it, `attribute K, i` less.
        below = place if kind == "AttributeProto" else (*place, field.name)
        if field.message_type is None:
            yield from _plain(old, new, below, field.is_repeated)
        elif field.is_repeated:
            yield from _list(field.name, old, new, place)
        elif released.HasField(field.name) and rebuilt.HasField(field.name):
            yield from walk(old, new, below if field.name not in ("graph", "t", "g") else place)
        elif released.HasField(field.name) or rebuilt.HasField(field.name):
            side = "released" if released.HasField(field.name) else "rebuilt"
            yield Found(", ".join(below), f"only {side}")


def _plain(old: Any, new: Any, place: tuple[str, ...], repeated: bool) -> Iterator[Found]:
    if repeated:
        old, new = list(old), list(new)
    if old == new or (old != old and new != new):
        return
    where = ", ".join(place)
    if repeated and max(len(old), len(new)) > 8 and len(old) == len(new):
        unequal = [at for at, (x, y) in enumerate(zip(old, new, strict=True)) if x != y]
        if unequal:
            at = unequal[0]
            both = sides(_shown(old[at]), _shown(new[at]))
            yield Found(where, f"{len(unequal):,} of {len(old):,} differ, the first [{at}]: {both}")
        return
    what, size = sides(_shown(old), _shown(new)), None
    if isinstance(old, float) and isinstance(new, float):
        size = relative(old, new)
        what += f" ({share(size)})" if size else ""
    yield Found(where, what, size)


def _list(field: str, old: Any, new: Any, place: tuple[str, ...]) -> Iterator[Found]:
    keys = [[_key(one) for one in side] for side in (old, new)]
    if any(not all(side) or len(set(side)) < len(side) for side in keys):
        keys = [[f"[{at}]" for at in range(len(side))] for side in keys]
    released = dict(zip(keys[0], old, strict=True))
    rebuilt = dict(zip(keys[1], new, strict=True))
    for key, one in released.items():
        here = (*place, f"{_label(field, one)} {key}")
        if key in rebuilt:
            yield from walk(one, rebuilt[key], here)
        else:
            yield Found(", ".join(here), f"only released{_about(one)}")
    for key, one in rebuilt.items():
        if key not in released:
            here = (*place, f"{_label(field, one)} {key}")
            yield Found(", ".join(here), f"only rebuilt{_about(one)}")
    shared = [key for key in keys[0] if key in rebuilt], [key for key in keys[1] if key in released]
    if shared[0] != shared[1]:
        start, _ = common_ends(*shared)
        yield Found(
            ", ".join((*place, f"{field}s")),
            f"the same {len(shared[0]):,} in another order, from number {start + 1:,} on: "
            f"{short(shared[0][start])} released, {short(shared[1][start])} rebuilt",
        )


def _typed(value: Any) -> str:
    """Return a value with its type; empty where no such type is known."""
    try:
        return str(printable_value_info(value))
    except ValueError:
        return ""


def _key(message: Any) -> str:
    match message.DESCRIPTOR.name:
        case "NodeProto":
            return str(message.name or next(iter(message.output), ""))
        case "OperatorSetIdProto":
            return message.domain or "ai.onnx"
        case "StringStringEntryProto":
            return str(message.key)
        case "FunctionProto":
            return ":".join(
                part for part in (message.domain, message.name, message.overload) if part
            )
        case "QuantizationAnnotation":
            return str(message.tensor_name)
        case "SparseTensorProto":
            return str(message.values.name)
    return str(getattr(message, "name", ""))


def _label(field: str, message: Any) -> str:
    return _FIELDS.get(field) or _LABELS.get(message.DESCRIPTOR.name) or field


def _about(message: Any) -> str:
    match message.DESCRIPTOR.name:
        case "NodeProto":
            return f": {message.domain or 'ai.onnx'} {message.op_type}"
        case "TensorProto":
            return f": {list(message.dims)}"
        case "StringStringEntryProto":
            return f": {short(message.value)}"
    return ""


def _shown(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, list):
        return [_shown(one) for one in value]
    return value
