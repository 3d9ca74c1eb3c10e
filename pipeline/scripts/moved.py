"""Where names lie now that scripts of the user's import from where an earlier version had them."""

from __future__ import annotations

from collections.abc import Mapping

MOVED: Mapping[str, Mapping[str, str]] = {
    "pipeline.model": {"Frozen": "pipeline.contract.frozen"},
    "pipeline.onnx.errors": {
        "ArtifactError": "pipeline.contract.errors",
        "BeyondCpuError": "pipeline.contract.errors",
    },
    "pipeline.onnx.verdicts": {"held": "pipeline.verdicts.verdicts"},
    "pipeline.passes.base": {
        "Inputs": "pipeline.contract.step",
        "Reporter": "pipeline.contract.step",
        "StepError": "pipeline.contract.errors",
    },
    "pipeline.plan": {"Kind": "pipeline.contract.kinds"},
    "pipeline.result": {"Verdict": "pipeline.contract.result"},
}
"""The module now, by the module before and the name."""


def new_place(error: ImportError) -> str:
    """Return which imports to write in place of the one that failed; empty if nothing moved."""
    names = MOVED.get(error.name or "", {})
    if not isinstance(error, ModuleNotFoundError):
        # Only Python 3.12 has the name that is missing as an attribute.
        names = {name: place for name, place in names.items() if f"name '{name}'" in error.msg}
    return ", ".join(f"from {place} import {name}" for name, place in names.items())
