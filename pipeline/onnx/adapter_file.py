"""Reads and writes the file of an adapter that lies beside a model, in ONNX Runtime's own format.

The runtime loads it by a name of the program's choice, and gives what it holds to the optional
inputs of the graph that have the same names (:mod:`pipeline.onnx.adapter_inputs`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.contract.adapter_name import SUFFIX
from pipeline.contract.errors import ArtifactError

_VERSION = 1
"""Version of adapter and model, which the format asks for and the runtime does not read."""


def adapter_file(folder: Path) -> Path | None:
    """Return the adapter in a model folder; ``None`` if there is none.

    Raises :class:`ArtifactError` if there are several, since nothing says which one to use.
    """
    found = sorted(folder.glob(f"*{SUFFIX}"))
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise ArtifactError(f"the model folder has several adapters: {names}; leave one there")
    return found[0] if found else None


def write_adapter(path: Path, weights: Mapping[str, Any]) -> None:
    """Write NumPy arrays by the names of the graph's inputs. The same ones give the same bytes."""
    import onnxruntime

    content = onnxruntime.AdapterFormat()
    content.set_adapter_version(_VERSION)
    content.set_model_version(_VERSION)
    make = onnxruntime.OrtValue.ortvalue_from_numpy
    content.set_parameters({name: make(weights[name]) for name in sorted(weights)})
    content.export_adapter(str(path))


def read_adapter(path: Path) -> dict[str, Any]:
    """Return the arrays of an adapter by the names of the graph's inputs.

    Raises ``ValueError`` if the file is none, or a broken one.
    """
    import onnxruntime

    try:
        values = onnxruntime.AdapterFormat.read_adapter(str(path)).get_parameters()
        # Arrays of a value are views of its memory, which goes with it.
        return {name: value.numpy().copy() for name, value in values.items()}
    except Exception as error:  # ONNX Runtime's own errors differ between its versions
        raise ValueError(f"{path.name} is no adapter: {str(error).splitlines()[0]}") from error
