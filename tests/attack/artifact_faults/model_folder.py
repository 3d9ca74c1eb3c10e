"""What is in a model folder, for those who spoil it: settings, texts, the graph and its tensors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Fault = Callable[[Path], None]

GRAPH_FILE, DATA_FILE, SETTINGS_FILE = "model.onnx", "model.onnx.data", "genai_config.json"
TOKENIZER_FILE, TOKENS_FILE = "tokenizer.json", "tokenizer_config.json"
TEMPLATE_FILE = "chat_template.jinja"

PACKED = "MatMulNBits"
"""The operator of a linear layer whose matrix is quantized."""
ATTENTION = "GroupQueryAttention"


class InapplicableError(Exception):
    """The folder has nothing that a fault could be planted in, or the fault would change nothing;
    says what is missing."""


def settings_of(folder: Path) -> Any:
    """Return the content of ``genai_config.json``."""
    return json.loads((folder / SETTINGS_FILE).read_text("utf-8"))


def changed_json(file: str, change: Callable[[Any], object]) -> Fault:
    """Return what changes the content of a JSON file."""

    def plant(folder: Path) -> None:
        path = folder / file
        content = json.loads(path.read_text("utf-8"))
        before = json.dumps(content)
        change(content)
        if json.dumps(content) == before:
            raise InapplicableError(f"{file} says that already")
        path.write_text(json.dumps(content, ensure_ascii=False, indent=2), "utf-8")

    return plant


def changed_text(file: str, change: Callable[[str], str]) -> Fault:
    """Return what changes a text file."""

    def plant(folder: Path) -> None:
        path = folder / file
        if not path.is_file():
            raise InapplicableError(f"it has no {file}")
        before = path.read_bytes().decode("utf-8")
        after = change(before)
        if after == before:
            raise InapplicableError(f"{file} has nothing of the kind")
        path.write_bytes(after.encode("utf-8"))

    return plant


def recoded(file: str, encoding: str) -> Fault:
    """Return what writes the same text in another encoding."""

    def plant(folder: Path) -> None:
        text = (folder / file).read_text("utf-8")
        (folder / file).write_bytes(text.encode(encoding))

    return plant


def cut(file: str, of: Callable[[int], int]) -> Fault:
    """Return what keeps only the beginning of a file: ``of`` its size."""

    def plant(folder: Path) -> None:
        content = (folder / file).read_bytes()
        (folder / file).write_bytes(content[: of(len(content))])

    return plant


def stands_twice(file: str, name: str, value: str) -> Fault:
    """Return what says something else of a name before it is said right: readers choose either."""

    def change(text: str) -> str:
        return re.sub(rf'("{name}"\s*:)', rf'"{name}": {value}, \1', text, count=1)

    return changed_text(file, change)


def written(file: str, content: bytes) -> Fault:
    """Return what writes a file."""

    def plant(folder: Path) -> None:
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_bytes(content)

    return plant


def gone(file: str) -> Fault:
    """Return what removes a file."""

    def plant(folder: Path) -> None:
        if not (folder / file).is_file():
            raise InapplicableError(f"it has no {file}")
        (folder / file).unlink()

    return plant


def load_graph(folder: Path) -> Any:
    """Return the graph's file, without the weights."""
    import onnx

    return onnx.load(str(folder / GRAPH_FILE), load_external_data=False)


def save_graph(folder: Path, model: Any) -> None:
    """Write the graph's file."""
    (folder / GRAPH_FILE).write_bytes(model.SerializeToString())


def changed_graph(change: Callable[[Any], object]) -> Fault:
    """Return what changes the graph's file."""

    def plant(folder: Path) -> None:
        model = load_graph(folder)
        before = model.SerializeToString(deterministic=True)
        change(model)
        if model.SerializeToString(deterministic=True) == before:
            raise InapplicableError("the graph is like that already")
        save_graph(folder, model)

    return plant


def tensors(model: Any, pattern: str) -> list[Any]:
    """Return the tensors whose name has ``pattern``; at least one."""
    found = [tensor for tensor in model.graph.initializer if re.search(pattern, tensor.name)]
    if not found:
        raise InapplicableError(f"no tensor is called {pattern}")
    return found


def place_of(tensor: Any) -> dict[str, str]:
    """Return where the bytes of a tensor lie."""
    return {entry.key: entry.value for entry in tensor.external_data}


def put(tensor: Any, **place: int | str) -> None:
    """Say that the bytes of a tensor lie elsewhere."""
    for key, value in place.items():
        entry = next((item for item in tensor.external_data if item.key == key), None)
        if entry is None:
            entry = tensor.external_data.add(key=key)
        entry.value = str(value)


def values_of(folder: Path, tensor: Any) -> Any:
    """Return the numbers of a tensor, mapped for writing; packed ones as bytes."""
    import numpy as np
    import onnx

    place = place_of(tensor)
    kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    four_bits = tensor.data_type in (onnx.TensorProto.INT4, onnx.TensorProto.UINT4)
    shape = tuple(tensor.dims)
    if four_bits:
        kind, shape = np.dtype(np.uint8), (*shape[:-1], shape[-1] // 2)
    return np.memmap(
        folder / place["location"], kind, "r+", int(place.get("offset", 0)), shape or (1,)
    )


def values(folder: Path, pattern: str) -> Any:
    """Return the numbers of the first tensor whose name has ``pattern``, mapped for writing."""
    return values_of(folder, tensors(load_graph(folder), pattern)[0])


def changed_tensor(pattern: str, change: Callable[[Any], object]) -> Fault:
    """Return what changes the first tensor whose name has ``pattern``, in place."""

    def plant(folder: Path) -> None:
        numbers = values(folder, pattern)
        before = numbers.tobytes()
        change(numbers)
        if numbers.tobytes() == before:
            raise InapplicableError(f"{pattern} is like that already")
        numbers.flush()

    return plant


def nodes(model: Any, *operators: str) -> list[Any]:
    """Return the nodes of these operators or names; at least one."""
    found = [node for node in model.graph.node if {node.op_type, node.name} & {*operators}]
    if not found:
        raise InapplicableError(f"the graph has no {' or '.join(operators)}")
    return found


@dataclass(frozen=True)
class Matrix:
    """The stored matrix of a linear layer: a row of ``weights`` for each of its outputs."""

    weights: Any
    scales: Any
    """``None`` for one that is not quantized."""
    zero_points: Any
    """``None`` if there are none."""
    bits: int

    @property
    def parts(self) -> list[Any]:
        """Return all that is stored of it."""
        return [part for part in (self.weights, self.scales, self.zero_points) if part is not None]

    def save(self) -> None:
        """Write what was changed."""
        for part in self.parts:
            part.flush()


def matrices(folder: Path, pattern: str = "") -> Iterator[Matrix]:
    """Yield the matrices of the linear layers whose weights have ``pattern`` in their name.

    A float matrix is stored by columns; it is given turned.
    """
    model = load_graph(folder)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    found = False
    for node in model.graph.node:
        if node.op_type not in (PACKED, "MatMul") or node.input[1] not in stored:
            continue
        if not re.search(pattern, node.input[1]):
            continue
        found = True
        if node.op_type == "MatMul":
            yield Matrix(values_of(folder, stored[node.input[1]]).T, None, None, 32)
            continue
        bits = next(item.i for item in node.attribute if item.name == "bits")
        rows = next(item.i for item in node.attribute if item.name == "N")
        names = [name for name in node.input[1:4] if name]
        parts = [values_of(folder, stored[name]) for name in names]
        shaped = [part.reshape(rows, -1, *part.shape[2:]) for part in parts]
        yield Matrix(shaped[0], shaped[1], shaped[2] if len(shaped) > 2 else None, bits)
    if not found:
        raise InapplicableError(f"no linear layer is called {pattern or 'anything'}")


def matrix(folder: Path, pattern: str) -> Matrix:
    """Return the first of :func:`matrices`."""
    return next(matrices(folder, pattern))
