"""Runs steps on what a caller mounts, and keeps nothing of what they write."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import IO

from pipeline.contract.plan import Plan, Step
from pipeline.contract.result import StepResult
from pipeline.contract.schema import Resources
from targets.cache import Cache
from targets.crashed_checks import run_plan
from targets.intake import take_in
from targets.machine import threads
from targets.place import Place
from targets.runtimes.runtime import Mount, OnEvent, ProcessLimits, RunRequest, Runtime


def run_uncached(
    build: str,
    steps: Iterable[Step],
    mounts: Iterable[Mount],
    place: Place,
    runtime: Runtime,
    cache: Cache,
    log: Path,
    on_event: OnEvent,
    stdin: IO[bytes] | None = None,
    resources: ProcessLimits = ProcessLimits(),  # noqa: B008 - it is frozen
) -> tuple[StepResult, ...]:
    """Run ``steps`` at ``place``, whatever they were planned for; return their results in order.

    They read nothing but ``mounts``, and nothing of what they write is kept. Raises what
    :meth:`Runtime.run` raises.
    """
    place_fields = {
        "toolchain": place.toolchain.digest,
        "absent_device": place.device.absence,
        "emulation": place.device.emulation,
    }
    request = RunRequest(
        plan=Plan(
            build=build,
            steps=tuple(step.model_copy(update=place_fields) for step in steps),
            threads=threads(Resources()),
        ),
        mounts=tuple(mounts),
        log=log,
        device=place.device.container,
        visible=place.device.environment,
        stdin=stdin,
        resources=resources,
    )
    with cache.scratch_folder() as work:
        mounts = (Mount("work", work, writable=True), *request.mounts)
        run_plan(runtime, place.toolchain, replace(request, mounts=mounts), work, on_event)
        return tuple(take_in(step, work / step.key, {}) for step in request.plan.steps)
