"""Runs a plan: its steps in order, each in a folder of its own, reported as events."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from pipeline.checks.base import BaseCheck, Outcome
from pipeline.contract.changes import CHANGES
from pipeline.contract.data_files import ROWS_FILE, DataFiles
from pipeline.contract.errors import StepError
from pipeline.contract.events import StepFinished, StepStarted
from pipeline.contract.plan import OUTPUT_DIR, DataInput, Plan, Step, StepInput, unfinished_root
from pipeline.contract.result import StepResult
from pipeline.contract.step import Inputs
from pipeline.contract.ways import of_way, way_of
from pipeline.passes.base import BasePass
from pipeline.process.causes import has_panicked
from pipeline.process.environment import Secrets
from pipeline.process.measure import PeakMemory, versions
from pipeline.process.sealing import seal
from pipeline.run.failures import failure
from pipeline.run.registry import implementation
from pipeline.run.reporting import EventWriter, StepReporter
from pipeline.run.store import Store
from pipeline.verdicts.overall import status_of

WORK_ROOT = "work"
"""Root of the plan where this process writes its results."""

OBJECTS_ROOT = "objects"
"""Root of the plan that holds the results of earlier builds, read-only; may be absent."""


def run_plan(plan: Plan, write: EventWriter, secrets: Secrets) -> bool:
    """Run every step of ``plan`` that is not finished yet. Returns whether all of them succeeded.

    A step that raises an error is reported as one ``failed`` event, with its traceback on standard
    error, and no later step runs. Raises ``KeyError`` if the plan has no work root.
    """
    objects = plan.roots.get(OBJECTS_ROOT)
    store = Store(Path(plan.roots[WORK_ROOT]), Path(objects) if objects is not None else None)
    for step in plan.steps:
        write(StepStarted(step=step.name))
        try:
            with secrets.restored(step.hub):
                result = _finished(step, store) or _run(step, plan, store, write)
        except BrokenPipeError:
            raise
        except BaseException as error:
            if not isinstance(error, Exception) and not has_panicked(error):
                raise
            with suppress(OSError):  # where the log lies, the disk may be full
                print(secrets.redact(traceback.format_exc()), file=sys.stderr, flush=True)  # noqa: T201
            event = failure(step.name, error, store.work)
            message, hint = secrets.redact(event.message), secrets.redact(event.hint)
            write(event.model_copy(update={"message": message, "hint": hint}))
            return False
        write(
            StepFinished(
                step=step.name,
                seconds=result.seconds,
                peak_rss_bytes=result.peak_rss_bytes,
                status=status_of(result),
            )
        )
    return True


def _finished(step: Step, store: Store) -> StepResult | None:
    return store.result(step.key, step.name) if store.find(step.key) is not None else None


def _run(step: Step, plan: Plan, store: Store, write: EventWriter) -> StepResult:
    """Run one step and publish its complete result in the work folder."""
    started = time.monotonic()
    memory = PeakMemory()
    inputs = _inputs(step, plan, store, StepReporter(step.name, write))
    partial = store.begin(step.key)
    try:
        code = plan.resolve(step.code.ref) if step.code is not None else None
        with implementation(step.kind, step.type, code) as step_class:
            result = _perform(step, step_class(), inputs, partial / OUTPUT_DIR)
        files = seal(partial / OUTPUT_DIR)
        complete = result.model_copy(
            update={
                "files": files,
                "origin": dict(plan.origin),
                "seconds": round(time.monotonic() - started, 3),
                "peak_rss_bytes": memory.bytes(),
            }
        )
        store.publish(partial, complete)
    except BaseException:
        store.discard(partial)
        raise
    return complete


def _perform(
    step: Step, runnable: BasePass[Any] | BaseCheck[Any], inputs: Inputs, out_dir: Path
) -> StepResult:
    """Run the pass or check and return its result, to which the caller adds cost and files."""
    bare = StepResult(
        name=step.name,
        type=step.type,
        key=step.key,
        seconds=0,
        peak_rss_bytes=0,
        versions=dict(versions()),
    )
    params = runnable.Params.model_validate(step.params)
    if isinstance(runnable, BasePass):
        metrics = runnable.run(inputs, params, out_dir)
        _require(step, metrics, dict)
        inherited = _inherited_metrics(runnable, inputs)
        metrics = {**inherited, **metrics, **_all_changes(inherited, metrics)}
        return bare.model_copy(update={"metrics": metrics})
    outcome = runnable.judge(inputs, params)
    _require(step, outcome, Outcome)
    return bare.model_copy(update={"verdicts": outcome.verdicts, "evidence": outcome.evidence})


def _inherited_metrics(onnx_pass: BasePass[Any], inputs: Inputs) -> dict[str, JsonValue]:
    """Return the metrics that a pass from ONNX to ONNX inherits from its input; else nothing.

    They hold the options given to the model builder, with which checks compare the artifact.
    """
    roles = [
        role for role, kind in onnx_pass.consumes.items() if kind == onnx_pass.produces == "onnx"
    ]
    return {name: value for role in roles for name, value in inputs.metrics[role].items()}


def _all_changes(
    inherited: Mapping[str, JsonValue], own: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """Return the figure with what this pass and those before it change, if they say so."""
    lists = [metrics[CHANGES] for metrics in (inherited, own) if CHANGES in metrics]
    parts = [part for parts in lists if isinstance(parts, list) for part in parts]
    return {CHANGES: parts} if lists else {}


def _require(step: Step, returned: object, expected: type) -> None:
    if not isinstance(returned, expected):
        raise StepError(
            f"'{step.type}' returned {type(returned).__name__} from run, not {expected.__name__}"
        )


def _inputs(step: Step, plan: Plan, store: Store, report: StepReporter) -> Inputs:
    paths: dict[str, Path] = {}
    metrics: dict[str, Mapping[str, JsonValue]] = {}
    for role, source in step.inputs.items():
        if isinstance(source, StepInput):
            paths[role] = store.output(source.key, source.step)
            metrics[role] = store.result(source.key, source.step).metrics
        else:
            paths[role] = plan.resolve(source.ref)
            metrics[role] = source.metrics
    if "artifact" in metrics:  # it was made in one way, and is judged by what that is made of
        way = way_of(metrics["artifact"])
        paths, metrics = of_way(paths, way), of_way(metrics, way)
    return Inputs(
        paths=paths,
        data=None if step.data is None else _data(step.data, plan, store),
        seed=step.seed,
        threads=plan.threads,
        report=report,
        metrics=metrics,
        absent_device=step.absent_device,
        emulation=step.emulation,
        unfinished=_unfinished(step, plan),
    )


def _unfinished(step: Step, plan: Plan) -> Path | None:
    root = plan.roots.get(unfinished_root(step.key))
    return None if root is None else Path(root)


def _data(data: DataInput, plan: Plan, store: Store) -> DataFiles:
    """Return the data set and its parts, with the paths that they have in this process."""
    return DataFiles(
        name=data.name,
        spec=data.spec,
        files=tuple(
            store.output(row.key, row.step) / ROWS_FILE
            if isinstance(row, StepInput)
            else plan.resolve(row.ref)
            for row in data.rows
        ),
        made=data.spec.is_made,
        held_out=None if data.held_out is None else _data(data.held_out, plan, store),
        validation=None if data.validation is None else _data(data.validation, plan, store),
    )
