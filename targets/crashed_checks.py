"""Runs plans whose checks may crash their process: that fails the check, and the others go on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipeline.checks.base import USABLE
from pipeline.contract.events import StepFinished
from pipeline.contract.plan import OUTPUT_DIR, Step
from pipeline.contract.result import RESULT_FILE, StepResult, Verdict
from targets.errors import ProcessCrashed
from targets.runtimes.runtime import OnEvent, RunRequest, Runtime
from targets.toolchain.toolchain import Toolchain


def run_plan(
    runtime: Runtime, toolchain: Toolchain, request: RunRequest, work: Path, on_event: OnEvent
) -> None:
    """Run the plan of ``request`` as :meth:`Runtime.run` does. ``work`` is what it mounts as work
    folder.

    An artifact that crashes the runtime is not fit for use. So a check whose process crashes gets a
    result that says so, and another process runs the steps after it.
    """
    steps = request.plan.steps
    while steps:
        plan = request.plan.model_copy(update={"steps": steps})
        try:
            runtime.run(toolchain, replace(request, plan=plan), on_event)
            steps = ()
        except ProcessCrashed as crash:
            names = [step.name for step in steps]
            at = names.index(crash.step) if crash.step in names else None
            if at is None or steps[at].kind != "check":
                raise
            try:
                _leave_failed(work, steps[at], crash)
            except FileExistsError:  # whatever the process has put there
                raise crash from None
            on_event(StepFinished(step=crash.step, seconds=0, peak_rss_bytes=0, status="failed"))
            steps = steps[at + 1 :]


def _leave_failed(work: Path, step: Step, crash: ProcessCrashed) -> None:
    """Write the result of a check that crashed where its process would have."""
    folder = work / step.key
    folder.mkdir()  # not where the process might have put a link
    (folder / OUTPUT_DIR).mkdir()
    why = f"the process that ran the artifact crashed: {crash.how}"
    result = StepResult(
        name=step.name,
        type=step.type,
        key=step.key,
        seconds=0,
        peak_rss_bytes=0,
        verdicts=(Verdict(name=USABLE, status="failed", detail=why),),
    )
    (folder / RESULT_FILE).write_text(result.model_dump_json(indent=1) + "\n", "utf-8")
