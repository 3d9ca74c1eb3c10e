"""Builds the model of an artifact again, and compares the two while it is built.

The builder is deterministic: the same checkpoint and options give the same bytes. Each tensor is
made, compared with the artifact's and dropped, so that nothing but one of them has to fit into
memory, and no weight is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from pydantic import JsonValue

from pipeline.builder.build import build_with
from pipeline.builder.call import BuilderCall
from pipeline.builder.matrices import placeholder
from pipeline.builder.options import OPTIONS
from pipeline.builder.params import ModelBuilderParams
from pipeline.builder.streaming import workers
from pipeline.contract.step import Reporter
from pipeline.onnx.checkpoint import Checkpoint
from pipeline.onnx.graph import OnnxModel
from pipeline.weights.widths import Widths


@dataclass
class BesideArtifact:
    """Takes the place of ``onnx_ir.save``: writes the graph alone, and compares the weights."""

    artifact: OnnxModel
    tensors: int = 0
    """How many were compared."""
    differences: list[str] = field(default_factory=list)
    file: str = ""
    """Name of the graph's file."""
    data: str = ""
    """Name of the file that the weights would have been written to."""

    def __call__(self, model: ir.Model, path: str, external_data: str, **_options: Any) -> None:
        """Compare the weights of ``model`` with the artifact's, and write its graph to ``path``."""
        self.file, self.data = Path(path).name, external_data
        values = [value for graph in model.graphs() for value in graph.initializers.values()]
        self.tensors = len(values)
        with ThreadPoolExecutor(workers()) as pool:
            self.differences = [text for text in pool.map(self._compared, values) if text]
        for value in values:
            assert value.const_value is not None  # noqa: S101 - the builder gives each its weights
            value.const_value = placeholder(value.const_value)
        onnx.save(ir.serde.serialize_model(model), path)

    def _compared(self, value: ir.Value) -> str:
        tensor = value.const_value
        assert tensor is not None  # noqa: S101
        return self.difference(str(value.name), tensor.tobytes())

    def difference(self, name: str, wanted: bytes) -> str:
        """Return how a tensor of the artifact differs from the bytes that are built now; empty for
        not at all."""
        built = np.frombuffer(wanted, np.uint8)
        if name not in self.artifact.initializers:
            return f"{name} is missing"
        try:
            found = self.artifact.bytes_of(name)
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
        except ValueError as error:
            return f"{name} cannot be read: {error}"
        if found.size != built.size:
            return f"{name} has {found.size} bytes, not {built.size}"
        wrong = int(np.count_nonzero(found != built))
        return f"{name}: {wrong} of {built.size} bytes are others" if wrong else ""


def build_beside(
    checkpoint: Path,
    out_dir: Path,
    artifact: OnnxModel,
    recorded: Mapping[str, JsonValue],
    report: Reporter,
    integers: Path | None = None,
    widths: Path | None = None,
) -> BesideArtifact:
    """Build ``checkpoint`` into ``out_dir`` as the metrics ``recorded`` of ``artifact`` say, with
    the ``integers`` and ``widths`` that were chosen; its weights are compared instead of written.

    Raises :class:`pipeline.contract.errors.StepError` where the builder does.
    """
    options = {name: str(value) for name, value in _table(recorded[OPTIONS]).items()}
    values = {name: recorded[name] for name in ModelBuilderParams.model_fields if name in recorded}
    params = ModelBuilderParams.model_validate(
        {**values, "trust_remote_code": options.get("hf_remote") == "true"}
    )
    compared = BesideArtifact(artifact)
    call = BuilderCall(
        Checkpoint(checkpoint),
        out_dir,
        params,
        options,
        integers=integers,
        widths=None if widths is None else Widths.load(widths),
        save=compared,
    )
    build_with(call, report)
    return compared


def _table(value: JsonValue) -> Mapping[str, JsonValue]:
    return value if isinstance(value, dict) else {}
