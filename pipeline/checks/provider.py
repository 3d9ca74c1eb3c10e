"""Checks that the target's execution provider runs the graph, and computes what the CPU's does."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, JsonValue

from pipeline.checks.base import BaseCheck, Outcome
from pipeline.contract.errors import BeyondCpuError
from pipeline.contract.frozen import Frozen
from pipeline.contract.result import Verdict
from pipeline.contract.step import Inputs

_FLOATS = {"float", "float16", "bfloat16", "double"}
_IDS, _STEPS = range(8), 5
"""The tokens that are run, and of how many the logits are compared: all before the last four are
run at once, as a prompt is, these one by one."""


class ProviderParams(Frozen):
    """The limits."""

    max_fallbacks: int = Field(default=0, ge=0)
    """How many nodes may run on the CPU instead of the target's provider."""
    max_provider_error: float = Field(default=0.1, gt=0)
    """Largest difference of the provider's logits from those of the CPU provider, relative to
    these. Both round differently, which takes some percent; a kernel that computes something else
    takes tens of percent."""


class Check(BaseCheck[ProviderParams]):
    """Prove that every node can run on the provider and, if the device is here, that it did."""

    Params = ProviderParams
    uses_device: ClassVar[bool] = True

    def run(self, inputs: Inputs, params: ProviderParams) -> Outcome:
        """Compare the graph with the kernel table; with the device, trace a few steps too."""
        from pipeline.onnx.emulation import absence_of_provider
        from pipeline.onnx.genai_config import GenAiConfig
        from pipeline.onnx.graph import OnnxModel
        from pipeline.verdicts.verdicts import problem_verdict, unverified

        folder = inputs["artifact"]
        try:
            config = GenAiConfig(folder)
            model = OnnxModel(folder / config.filename)
        except ValueError as error:
            return Outcome((problem_verdict("graph_readable", [str(error)], ""),))
        provider = config.provider
        why_absent = absence_of_provider(inputs, model)
        coverage = _coverage(model, provider, params, traced=not why_absent)
        if why_absent:
            ran = unverified("nodes_off_provider", why_absent)
            return Outcome((*coverage, ran), {"provider": {"name": provider}})
        verdicts, figures = _ran(inputs, provider, params)
        return Outcome((*coverage, *verdicts), {"provider": {"name": provider, **figures}})


def _coverage(
    model: Any, provider: str, params: ProviderParams, traced: bool
) -> tuple[Verdict, ...]:
    """Return the verdict by the kernel table. ONNX Runtime publishes none of some providers: of
    these the trace shows as much, where it is made."""
    import onnxruntime
    from packaging.version import Version

    from pipeline.onnx.kernels.table import read_table
    from pipeline.verdicts.verdicts import limit_verdict, summarize_problems, unverified

    table = read_table(provider)
    if table is None:
        why = f"there is no table of the kernels of {provider}"
        return () if traced else (unverified("nodes_without_kernel", why),)
    missing = table.lacking(model)
    installed = onnxruntime.__version__
    source = f"table of onnxruntime {table.onnxruntime}"
    if len(missing) > params.max_fallbacks and Version(table.onnxruntime) < Version(installed):
        why = f"the {source} is older than {installed}: {summarize_problems(missing)}"
        return (unverified("nodes_without_kernel", why),)
    nodes = len(model.nodes)
    verdict = limit_verdict(
        "nodes_without_kernel",
        len(missing),
        "<=",
        params.max_fallbacks,
        unit="nodes",
        detail=summarize_problems(missing)
        or f"all {nodes} nodes have a {provider} kernel ({source})",
    )
    return (verdict,)


def _ran(
    inputs: Inputs, provider: str, params: ProviderParams
) -> tuple[tuple[Verdict, ...], dict[str, JsonValue]]:
    from pipeline.onnx.providers import onnxruntime_name
    from pipeline.verdicts.verdicts import limit_verdict, summarize_problems

    nodes, logits = _trace(inputs)
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
    through = f", through {inputs.emulation}" if inputs.emulation else ""
    detail = (
        summarize_problems(elsewhere)
        or f"{counts[name]} of {len(nodes)} nodes ran on {name}{through}"
    )
    limit = params.max_fallbacks if counts.get(name) else 0
    verdict = limit_verdict(
        "nodes_off_provider", len(elsewhere), "<=", limit, unit="nodes", detail=detail
    )
    alike = () if provider == "cpu" else _alike(inputs, logits, params)
    return (verdict, *alike), {"nodes": counts}


def _alike(inputs: Inputs, logits: Any, params: ProviderParams) -> tuple[Verdict, ...]:
    """Return the verdict on the provider's ``logits``; none if the CPU cannot run the graph."""
    from pipeline.onnx.closeness import closeness
    from pipeline.onnx.session import Session
    from pipeline.verdicts.verdicts import limit_verdict

    try:
        cpus = Session(inputs["artifact"], inputs.threads, cpu=True).logits(_IDS, _STEPS)
    except BeyondCpuError:
        return ()
    compared = closeness([(logits, cpus)])
    error = math.nan if compared is None else compared.error
    detail = f"of {_STEPS} positions, against the CPU provider"
    return (limit_verdict("provider_error", error, "<=", params.max_provider_error, detail=detail),)


def _trace(inputs: Inputs) -> tuple[dict[str, dict[str, Any]], Any]:
    """Run a few tokens and return, per node, the provider it ran on and its output types; and the
    logits."""
    from pipeline.onnx.session import Session

    with tempfile.TemporaryDirectory() as scratch:
        session = Session(
            inputs["artifact"], profile=Path(scratch) / "trace", emulated=bool(inputs.emulation)
        )
        logits = session.logits(_IDS, _STEPS)
        del session  # the trace is written when the runtime's objects are freed
        events = [
            event
            for file in Path(scratch).glob("trace*.json")
            for event in json.loads(file.read_text("utf-8"))
        ]
    nodes = {
        event["name"].removesuffix("_kernel_time"): {
            "provider": event["args"]["provider"],
            "types": {kind for shape in _outputs(event) for kind in shape},
        }
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
    }
    return nodes, logits


def _outputs(event: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the shape of each output under the name of its type."""
    types_and_shapes: list[Mapping[str, Any]] = event["args"].get("output_type_shape", [])
    return types_and_shapes
