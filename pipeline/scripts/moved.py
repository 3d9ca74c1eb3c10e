"""Where names lie now that scripts of the user's import from where an earlier version had them."""

from __future__ import annotations

from collections.abc import Mapping

MOVED: Mapping[str, Mapping[str, str]] = {
    "pipeline.model": {"Frozen": "from pipeline.contract.frozen import Frozen"},
    "pipeline.onnx.errors": {
        "ArtifactError": "from pipeline.contract.errors import ArtifactError",
        "BeyondCpuError": "from pipeline.contract.errors import BeyondCpuError",
    },
    "pipeline.onnx.verdicts": {"held": "from pipeline.verdicts.verdicts import limit_verdict"},
    "pipeline.passes.base": {
        "Inputs": "from pipeline.contract.step import Inputs",
        "Reporter": "from pipeline.contract.step import Reporter",
        "StepError": "from pipeline.contract.errors import StepError",
    },
    "pipeline.plan": {"Kind": "from pipeline.contract.kinds import Kind"},
    "pipeline.result": {"Verdict": "from pipeline.contract.result import Verdict"},
}
"""The import to write now, by the module and the name of before."""


RENAMED_ATTRIBUTES: Mapping[str, str] = {
    "asks_held_out": "needs_held_out",
    "by_itself": "added_by_planner",
    "does_without": "optional_needs",
    "does_without_data": "data_optional",
    "keeps": "enforces",
    "unasked": "runs_by_default",
}
"""The name now of attributes of passes and checks, by the name of before."""


def new_import(error: ImportError) -> str:
    """Return which imports to write in place of the one that failed; empty if nothing moved."""
    names = MOVED.get(error.name or "", {})
    if not isinstance(error, ModuleNotFoundError):
        # Before Python 3.12 the missing name is in the message only.
        names = {name: now for name, now in names.items() if f"name '{name}'" in error.msg}
    return ", ".join(names.values())
