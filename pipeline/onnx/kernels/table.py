"""The kernels of an execution provider, from ONNX Runtime's published table.

``PROVIDER.json`` beside this file is made by ``nox -s lock`` from ONNX Runtime's
https://github.com/microsoft/onnxruntime/blob/main/docs/OperatorKernels.md of that version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from pipeline.contract.frozen import Frozen

FOLDER = Path(__file__).parent

_STANDARD = ("", "ai.onnx")
_COMPILED_AWAY = {"Constant"}
"""Operators that become initializers when a session is created, so that no kernel runs them."""


class Kernel(Frozen):
    """One kernel: the operator versions that it implements, and the types that it accepts."""

    first: int
    last: int | None
    """Last version; ``None`` if it is valid until the operator changes."""
    types: dict[str, tuple[str, ...]]
    """Tensor types, as ONNX names them, per type variable."""

    def implements(self, version: int) -> bool:
        """Return whether it implements the operator that was introduced in ``version``.

        The rule is that of ``KernelRegistry::VerifyKernelDef`` in ONNX Runtime.
        """
        if self.last is None:
            return version == self.first
        return self.first <= version <= self.last


class Operator(Frozen):
    """All kernels of one operator, and the types of its inputs and outputs."""

    signatures: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    """Per form of the operator: type variables, or types, of its inputs and outputs in order. A
    name that ends in ``...`` is that of all further ones too."""
    kernels: tuple[Kernel, ...]


class KernelTable(Frozen):
    """The kernels of one provider in one version of ONNX Runtime."""

    onnxruntime: str
    provider: str
    operators: dict[str, Operator] = Field(min_length=1)
    """Operators by ``domain:name``; the standard domain is empty."""

    def lacking(self, model: Any) -> list[str]:
        """Return the nodes of an :class:`pipeline.onnx.graph.OnnxModel` without a kernel."""
        types = _types(model)
        opsets = {
            "" if entry.domain in _STANDARD else entry.domain: entry.version
            for entry in model.proto.opset_import
        }
        return [
            f"{node.name or node.op_type}: {why}"
            for node in model.nodes
            if node.op_type not in _COMPILED_AWAY and (why := self._lack(node, opsets, types))
        ]

    def _lack(self, node: Any, opsets: Mapping[str, int], types: Mapping[str, str]) -> str:
        """Return why ``node`` has no kernel, or an empty string."""
        domain = "" if node.domain in _STANDARD else node.domain
        operator = self.operators.get(f"{domain}:{node.op_type}")
        if operator is None:
            return f"there is no kernel for {node.op_type}"
        version = _since(domain, node.op_type, opsets.get(domain, 1))
        kernels = [kernel for kernel in operator.kernels if kernel.implements(version)]
        if not kernels:
            return f"there is no kernel for {node.op_type} of version {version}"
        for inputs, outputs in operator.signatures:
            used = [*_named(inputs, node.input, types), *_named(outputs, node.output, types)]
            if any(_takes(kernel, used) for kernel in kernels):
                return ""
        used_types = sorted({types[name] for name in (*node.input, *node.output) if name in types})
        return f"no kernel for {node.op_type} takes {', '.join(used_types)}"


def read_table(provider: str) -> KernelTable | None:
    """Return the table of ``provider`` (``cpu``, ``cuda``, ``dml``); ``None`` if there is none."""
    file = FOLDER / f"{provider}.json"
    return KernelTable.model_validate_json(file.read_bytes()) if file.exists() else None


def _takes(kernel: Kernel, used: Sequence[tuple[str, str]]) -> bool:
    """Return whether the kernel accepts the types of all values, with one type per variable."""
    bound: dict[str, str] = {}
    for variable, type_name in used:
        allowed = (variable,) if variable.startswith("tensor(") else kernel.types.get(variable)
        if allowed is None:
            continue  # the kernel accepts every type that the operator allows
        if type_name not in allowed or bound.setdefault(variable, type_name) != type_name:
            return False
    return True


def _named(
    variables: Sequence[str], names: Sequence[str], types: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield type variable and type of each value that is present and has a known type."""
    for place, name in enumerate(names):
        if not variables:
            return
        variable = variables[min(place, len(variables) - 1)]
        if place >= len(variables) and not variable.endswith("..."):
            return
        if name in types:
            yield variable.removesuffix("..."), types[name]


def _types(model: Any) -> dict[str, str]:
    """Return the tensor type of every value that the model declares: ``tensor(float16)``."""
    from onnx import TensorProto

    graph = model.graph
    elements = {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.input, *graph.output, *graph.value_info)
        if value.type.HasField("tensor_type")
    }
    elements |= {name: tensor.data_type for name, tensor in model.initializers.items()}
    names = {number: name.lower() for name, number in TensorProto.DataType.items()}
    return {
        name: f"tensor({names[number]})" for name, number in elements.items() if number in names
    }


def _since(domain: str, name: str, opset: int) -> int:
    """Return the version that introduced the operator's definition in ``opset`` of its domain."""
    from onnx import defs

    try:
        return int(defs.get_schema(name, opset, domain).since_version)
    except defs.SchemaError:
        return 1  # ONNX Runtime's own operators, in any of its domains
