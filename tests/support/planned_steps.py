"""Names of the steps of a plan, and the inputs of one step."""

from __future__ import annotations

from pipeline.contract.plan import StepInput
from targets.planner.build_plan import BuildPlan


def inputs(plan: BuildPlan, name: str) -> dict[str, str]:
    """Return the steps that ``name`` reads, by role."""
    sources = plan[name].step.inputs.items()
    return {role: source.step for role, source in sources if isinstance(source, StepInput)}


def names(plan: BuildPlan) -> set[str]:
    return {planned.step.name for planned in plan.steps}
