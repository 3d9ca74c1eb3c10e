"""How many machines of a system the steps of a process run on."""

from __future__ import annotations

from pipeline.contract.plan import Plan, Step


def gpus_of(step: Step) -> int:
    """Return how many processes train in a step, each on a GPU; one, of any other step."""
    count = step.params.get("gpus", 1)
    return count if isinstance(count, int) and step.code is None else 1


def machines_of(plan: Plan, most: int) -> int:
    """Return on how many machines ``plan`` runs: ``most`` for a training in several processes."""
    return most if any(gpus_of(step) > 1 for step in plan.steps) else 1
