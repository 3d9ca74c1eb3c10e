"""Outputs that are not on this machine: what a plan takes from a shared cache and what it leaves
on a system, and which go there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pipeline.contract.kinds import Kind
from pipeline.contract.plan import Step, object_path
from pipeline.contract.result import StepResult
from pipeline.contract.roles import ROLES
from pipeline.contract.ways import role_of
from targets.cache import Cache, CachedStep
from targets.planner.build_plan import BuildPlan, PlannedStep
from targets.systems.left_outputs import LeftOutputs

if TYPE_CHECKING:
    from targets.remote.shared_cache import SharedCache

SHARED = "cached (shared)"
_MADE_SOON: tuple[Kind, ...] = ("checkpoint", "tokens", "quantized")
"""What is large, and made in minutes where no training makes it."""
_LEFT_BEHIND = {str(role) for role, source in ROLES.items() if not source.travels}


def with_elsewhere(
    steps: Sequence[PlannedStep],
    artifact: str,
    cache: Cache,
    shared: SharedCache | None,
    left: LeftOutputs | None,
) -> list[PlannedStep]:
    """Return ``steps`` with those results of ``shared`` and of ``left`` that make it unnecessary to
    run them.

    A step whose output does not come here is run nevertheless where another one reads it, unless
    that one runs where the output is.
    """
    fresh = _made_anew(steps)
    open_keys = [one.step.key for one in steps if one.cached is None and one.step.key not in fresh]
    records = shared.find(open_keys) if shared is not None else {}
    brought = shared.brought if shared is not None else set()
    here = _needed_at_the_end([planned.step for planned in steps], artifact)
    there: set[str] = set()  # what steps read that are to run
    found: list[PlannedStep] = []
    for planned in reversed(steps):  # those that read come before those that they read
        key = planned.step.key
        record = records.get(key)
        stayed = left.find(key) if left is not None and key in open_keys else None
        usable = left is not None and (key not in there or left.is_there(key))
        usable = usable and not planned.distrusted
        if planned.cached is not None:
            reason = SHARED if key in brought else planned.reason
            found.append(replace(planned, reason=reason))
        elif stayed is not None and key not in here and usable:
            reason = f"cached (on {stayed.name})"
            found.append(_elsewhere(planned, cache, stayed.result, "left", reason))
        elif record is not None and (record.output or key not in here | there):
            found.append(_elsewhere(planned, cache, record.result, "shared", SHARED))
        else:
            there |= set(planned.step.read_keys())
            found.append(planned)
    return found[::-1]


def _elsewhere(
    planned: PlannedStep,
    cache: Cache,
    result: StepResult,
    where: Literal["shared", "left"],
    reason: str,
) -> PlannedStep:
    folder = cache.objects / object_path(planned.step.key)
    return replace(planned, cached=CachedStep(folder, result, where), reason=reason)


def needed_outputs(plan: BuildPlan) -> tuple[PlannedStep, ...]:
    """Return the steps of the shared cache whose outputs a build of ``plan`` reads."""
    needed = _needed_at_the_end([planned.step for planned in plan.steps], plan.artifact)
    needed |= {key for planned in plan.missing for key in planned.step.read_keys()}
    return tuple(
        planned
        for planned in plan.steps
        if planned.cached is not None
        and planned.cached.elsewhere == "shared"
        and planned.step.key in needed
    )


def travels(planned: PlannedStep, plan: BuildPlan, checkpoints: bool) -> bool:
    """Return whether the output of a step goes to a shared cache with its result.

    What a hub gave does not: the hub decides who may have it. Nor does a checkpoint that was merged
    or converted: it is as large as the model, and made in minutes from what travels; nor do tokens
    of rows, or a base in 4 bits. What was trained does, and what the build is for.
    """
    if checkpoints or planned.step.name == plan.artifact:
        return True
    return not planned.step.hub and not _is_made_soon(planned)


def may_stay(planned: PlannedStep, plan: BuildPlan) -> bool:
    """Return whether the output of a step may stay on the system that makes it: a checkpoint that
    is merged or converted there, or that comes from a hub, a base in 4 bits, and tokens of rows."""
    return planned.step.name != plan.artifact and _is_made_soon(planned)


def _is_made_soon(planned: PlannedStep) -> bool:
    call = planned.call
    if call is None or planned.step.code is not None:
        return False  # code of the user's may train
    implementation = call.implementation
    return implementation.produces in _MADE_SOON and not implementation.trains


def _needed_at_the_end(steps: Iterable[Step], artifact: str) -> set[str]:
    """Return the keys of the outputs that are handed out: the artifact, and what its checks read on
    another machine."""
    needed = set()
    for step in steps:
        if step.name == artifact:
            needed.add(step.key)
        if step.kind == "check":
            inputs = step.inputs.items()
            kept = {name: one for name, one in inputs if role_of(name) not in _LEFT_BEHIND}
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
