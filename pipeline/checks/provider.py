"""Checks that the target's execution provider runs the graph, by its kernel table and a trace."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, JsonValue

from pipeline.checks.base import BaseCheck, Outcome
from pipeline.contract.frozen import Frozen
from pipeline.contract.result import Verdict
from pipeline.contract.step import Inputs

_FLOATS = {"float", "float16", "bfloat16", "double"}
_STEPS = 4


class ProviderParams(Frozen):
    """The limit."""

    max_fallbacks: int = Field(default=0, ge=0)
    """How many nodes may run on the CPU instead of the target's provider."""


class Check(BaseCheck[ProviderParams]):
    """Prove that every node can run on the provider and, if the device is here, that it did."""

    Params = ProviderParams
    uses_device: ClassVar[bool] = True

    def run(self, inputs: Inputs, params: ProviderParams) -> Outcome:
        """Compare the graph with the kernel table; with the device, trace a few steps too."""
        from pipeline.onnx.genai_config import GenAiConfig
        from pipeline.onnx.graph import OnnxModel
        from pipeline.verdicts.verdicts import problem_verdict

        folder = inputs["artifact"]
        try:
            config = GenAiConfig(folder)
            model = OnnxModel(folder / config.filename)
        except ValueError as error:
            return Outcome((problem_verdict("graph_readable", [str(error)], ""),))
        provider = config.provider
        coverage = _coverage(model, provider, params)
        ran, figures = _ran(inputs, provider, params)
        return Outcome((coverage, ran), {"provider": {"name": provider, **figures}})


def _coverage(model: Any, provider: str, params: ProviderParams) -> Verdict:
    import onnxruntime
    from packaging.version import Version

    from pipeline.onnx.kernels.table import read_table
    from pipeline.verdicts.verdicts import limit_verdict, summarize_problems, unverified

    table = read_table(provider)
    if table is None:
        return unverified("nodes_without_kernel", f"there is no table of the kernels of {provider}")
    missing = table.lacking(model)
    installed = onnxruntime.__version__
    source = f"table of onnxruntime {table.onnxruntime}"
    if len(missing) > params.max_fallbacks and Version(table.onnxruntime) < Version(installed):
        why = f"the {source} is older than {installed}: {summarize_problems(missing)}"
        return unverified("nodes_without_kernel", why)
    nodes = len(model.nodes)
    return limit_verdict(
        "nodes_without_kernel",
        len(missing),
        "<=",
        params.max_fallbacks,
        unit="nodes",
        detail=summarize_problems(missing)
        or f"all {nodes} nodes have a {provider} kernel ({source})",
    )


def _ran(
    inputs: Inputs, provider: str, params: ProviderParams
) -> tuple[Verdict, dict[str, JsonValue]]:
    from pipeline.onnx.providers import onnxruntime_name
    from pipeline.verdicts.verdicts import limit_verdict, summarize_problems, unverified

    if inputs.absent_device:
        return unverified("nodes_off_provider", inputs.absent_device), {}
    nodes = _trace(inputs["artifact"])
    name = onnxruntime_name(provider)
    counts: dict[str, JsonValue] = {}
    for node in nodes.values():
        counts[node["provider"]] = int(str(counts.get(node["provider"], 0))) + 1
    # ORT runs shape arithmetic on the CPU on purpose; nodes that compute floats must not be there.
    elsewhere = [
        f"{title} ran on {node['provider']}"
        for title, node in sorted(nodes.items())
        if node["provider"] != name and node["types"] & _FLOATS
    ]
    if not counts.get(name):
        elsewhere = [f"no node ran on {name}", *elsewhere]
    detail = summarize_problems(elsewhere) or f"{counts[name]} of {len(nodes)} nodes ran on {name}"
    limit = params.max_fallbacks if counts.get(name) else 0
    verdict = limit_verdict(
        "nodes_off_provider", len(elsewhere), "<=", limit, unit="nodes", detail=detail
    )
    return verdict, {"nodes": counts}


def _trace(folder: Path) -> dict[str, dict[str, Any]]:
    """Generate a few tokens and return, per node, the provider it ran on and its output types."""
    from pipeline.onnx.session import Session

    with tempfile.TemporaryDirectory() as scratch:
        session = Session(folder, profile=Path(scratch) / "trace")
        for _ in session.stream(range(_STEPS), _STEPS, never_end=True):
            pass
        del session  # the trace is written when the runtime's objects are freed
        events = [
            event
            for file in Path(scratch).glob("trace*.json")
            for event in json.loads(file.read_text("utf-8"))
        ]
    return {
        event["name"].removesuffix("_kernel_time"): {
            "provider": event["args"]["provider"],
            "types": {kind for shape in _outputs(event) for kind in shape},
        }
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
    }


def _outputs(event: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the shape of each output under the name of its type."""
    types_and_shapes: list[Mapping[str, Any]] = event["args"].get("output_type_shape", [])
    return types_and_shapes
