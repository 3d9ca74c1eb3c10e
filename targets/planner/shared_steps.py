"""What a plan takes from a shared cache, and which outputs go to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.contract.plan import Step, object_path
from pipeline.contract.roles import ROLES
from targets.cache import Cache, CachedStep
from targets.planner.build_plan import BuildPlan, PlannedStep

if TYPE_CHECKING:
    from targets.remote.shared_cache import SharedCache

SHARED = "cached (shared)"
_LEFT_BEHIND = {str(role) for role, source in ROLES.items() if not source.travels}


def with_shared(
    steps: Sequence[PlannedStep], artifact: str, cache: Cache, shared: SharedCache
) -> list[PlannedStep]:
    """Return ``steps`` with those results of ``shared`` that make it unnecessary to run them.

    A step whose output does not travel is run nevertheless where another one reads it.
    """
    fresh = _made_anew(steps)
    open_keys = [one.step.key for one in steps if one.cached is None and one.step.key not in fresh]
    records = shared.find(open_keys)
    needed = _needed_at_the_end([planned.step for planned in steps], artifact)
    found: list[PlannedStep] = []
    for planned in reversed(steps):  # those that read come before those that they read
        key = planned.step.key
        record = records.get(key)
        if planned.cached is not None:
            reason = SHARED if key in shared.brought else planned.reason
            found.append(replace(planned, reason=reason))
        elif record is not None and (record.output or key not in needed):
            there = CachedStep(cache.objects / object_path(key), record.result, elsewhere=True)
            found.append(replace(planned, cached=there, reason=SHARED))
        else:
            needed |= set(planned.step.read_keys())
            found.append(planned)
    return found[::-1]


def needed_outputs(plan: BuildPlan) -> tuple[PlannedStep, ...]:
    """Return the steps of the shared cache whose outputs a build of ``plan`` reads."""
    needed = _needed_at_the_end([planned.step for planned in plan.steps], plan.artifact)
    needed |= {key for planned in plan.missing for key in planned.step.read_keys()}
    return tuple(
        planned
        for planned in plan.steps
        if planned.cached is not None and planned.cached.elsewhere and planned.step.key in needed
    )


def travels(planned: PlannedStep, plan: BuildPlan, checkpoints: bool) -> bool:
    """Return whether the output of a step goes to a shared cache with its result.

    What a hub gave does not: the hub decides who may have it. Nor does a checkpoint that was merged
    or converted: it is as large as the model, and made in minutes from what travels. What was
    trained does, and what the build is for.
    """
    if checkpoints or planned.step.name == plan.artifact:
        return True
    if planned.step.hub:
        return False
    call = planned.call
    if call is None or planned.step.code is not None:
        return True
    return call.implementation.produces != "checkpoint" or call.implementation.trains


def _needed_at_the_end(steps: Iterable[Step], artifact: str) -> set[str]:
    """Return the keys of the outputs that are handed out: the artifact, and what its checks read on
    another machine."""
    needed = set()
    for step in steps:
        if step.name == artifact:
            needed.add(step.key)
        if step.kind == "check":
            kept = {role: one for role, one in step.inputs.items() if role not in _LEFT_BEHIND}
            needed |= set(step.model_copy(update={"inputs": kept}).read_keys())
    return needed


def _made_anew(steps: Iterable[PlannedStep]) -> set[str]:
    """Return the keys of steps that run again although a result is here, and of all that are made
    from them: none of the shared cache was made from the same."""
    fresh: set[str] = set()
    for planned in steps:
        again = planned.replaces or planned.set_aside is not None
        if again or not fresh.isdisjoint(planned.step.read_keys()):
            fresh.add(planned.step.key)
    return fresh
