"""Renders and counts the rows of a planned training, where that takes seconds and fetches nothing.

A tokenizer needs a toolchain, and its model. Where both are here, one process of the toolchain
shows what the training step would: without network, without code of the user's or of the model's,
and within a minute. What it shows is cached like the result of any step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import JsonValue

from pipeline.contract.plan import Plan, SourceInput, Step, StepInput
from pipeline.data.findings import Look
from pipeline.data.trained_view import KEPT, TrainedView, trained_view
from pipeline.run.code_digest import CodeDigests
from pipeline.run.registry import step_module
from pipeline.training.loading import ModelLoading
from pipeline.training.params import TOKENS, TrainingLoopParams
from targets.cache import Cache
from targets.disk import may_write
from targets.errors import InputRefused, Interrupted, QuernError
from targets.place import Place
from targets.planner.build_plan import BuildPlan, PlannedStep
from targets.planner.keys import facts_of, key_of
from targets.planner.known_code import KnownCode
from targets.runtimes.runtime import Mount, ProcessLimits, RunRequest, Runtime
from targets.systems.select import Chooser

_TYPE = "render_rows"
_SECONDS = 60
_MOST_ROWS = 10_000
"""Rows that are rendered; of more, they are drawn evenly."""


@dataclass(frozen=True)
class RenderedRows:
    """What a training step would show of its rows, or why that is not known."""

    view: TrainedView | None = None
    unknown: str = ""
    """Why it is not known yet."""
    refused: InputRefused | None = None
    """The error with which the training step would refuse the rows."""


def rendered_rows(
    plan: BuildPlan, look: Look, place: Place, chooser: Chooser, cache: Cache
) -> RenderedRows:
    """Return what the first training step of ``plan`` shows of its rows, whose look is ``look``.

    ``place`` is where it would run.
    """
    training = next(filter(_trains_on_rows, plan.steps), None)
    if training is None:
        return RenderedRows(unknown="no step is trained on these rows")
    if training.cached is not None:
        return RenderedRows(trained_view(training.cached.result.metrics))
    made = {planned.step.name: planned.cached for planned in plan.steps}
    tokens = training.step.inputs.get(TOKENS)
    kept = made[tokens.step] if isinstance(tokens, StepInput) else None
    if kept is not None:
        return RenderedRows(trained_view(kept.result.metrics, KEPT))
    code = KnownCode(cache.root)
    step = _step(training, look, place, CodeDigests(read=code.read))
    code.save()
    for name in _steps_read(step):
        before_it = made.get(name)
        if before_it is None:
            return RenderedRows(unknown=f"the step {name} has to run first")
        if before_it.elsewhere:
            where = "in the shared cache" if before_it.elsewhere == "shared" else "on a system"
            return RenderedRows(unknown=f"what {name} made is {where}, and not here")
    before = cache.find(step.key)
    if before is not None:
        return RenderedRows(trained_view(before.result.metrics))
    params = training.call.params if training.call else None
    if isinstance(params, ModelLoading) and params.trust_remote_code:
        return RenderedRows(unknown="the model brings code of its own, which no plan runs")
    if not may_write(cache.root):
        return RenderedRows(unknown="the cache cannot be written")
    runtime = chooser.ready(place.toolchain)
    if runtime is None:
        return RenderedRows(unknown="the toolchain has to be made first")
    try:
        _run(plan, step, place, runtime, cache)
    except Interrupted:
        raise
    except InputRefused as refused:
        return RenderedRows(refused=refused)
    except QuernError as error:
        return RenderedRows(unknown=str(error))
    found = cache.find(step.key)
    return RenderedRows(trained_view(found.result.metrics) if found is not None else None)


def _trains_on_rows(planned: PlannedStep) -> bool:
    call = planned.call
    return call is not None and isinstance(call.params, TrainingLoopParams)


def _step(training: PlannedStep, look: Look, place: Place, code: CodeDigests) -> Step:
    """Return the step that shows the rows of ``training``."""
    like = training.step
    every = 1 + sum(look.rows.values()) // _MOST_ROWS
    limits: dict[str, JsonValue] = {
        name: like.params[name] for name in ("max_length", "too_long") if name in like.params
    }
    step = Step(
        name=like.name,  # as which its errors are known
        kind="pass",
        type=_TYPE,
        target=place.toolchain.target,
        toolchain=place.toolchain.digest,
        key="",
        seed=like.seed,
        params={**limits, "every": every},
        inputs={"model": like.inputs["model"]},
        data=like.data,
    )
    facts = facts_of(
        type_name=step.type,
        code=code.digest(step_module(step.kind, step.type)),
        params=step.params,
        inputs=step.inputs,
        data=step.data,
        toolchain=step.toolchain,
        seed=step.seed,
    )
    return step.model_copy(update={"key": key_of(facts)})


def _steps_read(step: Step) -> Iterator[str]:
    """Yield the names of the steps whose output ``step`` reads."""
    sources = [*step.inputs.values()]
    for data in step.data.all() if step.data is not None else ():
        sources += data.rows
    yield from (source.step for source in sources if not isinstance(source, SourceInput))


def _run(plan: BuildPlan, step: Step, place: Place, runtime: Runtime, cache: Cache) -> None:
    # Most plans know their rows, and need not wait for what runs a process.
    from targets.crashed_checks import run_plan

    record = runtime.prepare(place.toolchain, lambda _: None)
    with cache.work_folder() as work:
        folder = cache.begin(work, [step], {"runtime": record.runtime})
        with cache.view(step.read_keys()) as objects:
            request = RunRequest(
                plan=Plan(build=plan.build, steps=(step,)),
                mounts=(
                    Mount("work", folder, writable=True),
                    Mount("objects", objects),
                    *_mounts(plan, step),
                ),
                log=cache.root / "logs" / f"{plan.build}-rows.log",
                resources=ProcessLimits(step_seconds=_SECONDS),
            )
            run_plan(runtime, place.toolchain, request, folder, lambda _: None)
        cache.finish(folder)


def _mounts(plan: BuildPlan, step: Step) -> Iterator[Mount]:
    """Yield the files of the user that ``step`` reads."""
    sources = [source for source in step.inputs.values() if isinstance(source, SourceInput)]
    sources += step.data.sources() if step.data is not None else ()
    roots = {source.ref.root for source in sources}
    yield from (mount for mount in plan.mounts if mount.root in roots)
