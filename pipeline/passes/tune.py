"""Builds the artifact that answers fastest on the target, within the quality limits of the config.

The choice depends on measured times, so the same inputs can give another one. The report lists all
trials, and the ``model_builder`` table that gives the same bytes without measuring.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import JsonValue

from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.contract.ways import PASSES, of_way
from pipeline.passes.base import BasePass
from pipeline.tuning.params import Point, TuneParams

if TYPE_CHECKING:
    from pipeline.tuning.summary import TuningSummary


class Pass(BasePass[TuneParams]):
    """Build the artifact in several ways, measure each, and keep the best. Used instead of
    ``model_builder``."""

    Params = TuneParams
    consumes: ClassVar[Mapping[str, Kind]] = {"model": "checkpoint"}
    may_consume: ClassVar[Mapping[str, Kind]] = {"integers": "integers", "widths": "widths"}
    produces: ClassVar[Kind] = "onnx"
    runs_on: ClassVar[Literal["host", "target"]] = "target"
    uses_data: ClassVar[bool] = True
    data_optional: ClassVar[bool] = True
    heeds_constraint: ClassVar[bool] = True
    enforces: ClassVar[tuple[str, ...]] = ("quantization", "quality")
    measures: ClassVar[bool] = True
    resumes: ClassVar[bool] = True

    def run(self, inputs: Inputs, params: TuneParams, out_dir: Path) -> dict[str, JsonValue]:
        """Search; return the builder's options and, under ``tuning``, all trials.

        Without the target's device nothing is measured, and the first choice is built. Raises
        :class:`pipeline.contract.errors.StepError` if no choice is within the limits.
        """
        from pipeline.tuning.summary import METRIC

        metrics, summary = (
            _untuned(inputs, params, out_dir)
            if inputs.absent_device
            else _tuned(inputs, params, out_dir)
        )
        return {**metrics, METRIC: summary.model_dump(mode="json")}


def _tuned(
    inputs: Inputs, params: TuneParams, out_dir: Path
) -> tuple[dict[str, JsonValue], TuningSummary]:
    import shutil

    from pipeline.process.load import busy_note, provisional
    from pipeline.tuning.front import front_of
    from pipeline.tuning.search import Search
    from pipeline.tuning.summary import TuningSummary
    from pipeline.tuning.trials import Trials

    trials = Trials(inputs.unfinished)
    if trials.resumed:
        inputs.report.warn(f"{trials.resumed} trials of an earlier run are taken over")
    work = out_dir / "trials"
    work.mkdir()
    search = Search(inputs, params, trials, work)
    chosen = search.run()
    if search.out_of_time:
        inputs.report.warn(f"max_seconds of {params.max_seconds:g} s are over: not all was tried")
    for file in chosen.folder.iterdir():
        file.rename(out_dir / file.name)
    shutil.rmtree(work)
    every = tuple(trial for trial in trials if trial.status != "within")
    busy = busy_note(search.busiest)
    summary = TuningSummary(
        goal=params.goal,
        prompt_tokens=params.prompt_tokens,
        new_tokens=params.new_tokens,
        layers=chosen.trial.layers,
        trials=every,
        chosen=every.index(chosen.trial),
        front=front_of(every),
        pinned=_pinned(params, chosen.trial.built, chosen.trial.session),
        left_out=_left_out(params, chosen.trial.built),
        seconds=round(trials.seconds, 1),
        out_of_time=search.out_of_time,
        resumed=trials.resumed,
        margin=chosen.margin,
        busy=busy,
    )
    return {**chosen.metrics, **provisional(busy, inputs.report)}, summary


def _untuned(
    inputs: Inputs, params: TuneParams, out_dir: Path
) -> tuple[dict[str, JsonValue], TuningSummary]:
    from pipeline.builder.build import build_at
    from pipeline.tuning.summary import TuningSummary

    why = inputs.absent_device
    inputs.report.warn(f"not tuned, since nothing can be measured here: {why}")
    start = params.built_points[0]
    pinned = _pinned(params, start, {})
    threads, options = params.settings({})
    written = {"threads": threads, "session": options}
    builder_params = params.builder(start).model_copy(update=written)
    paths = of_way(inputs.paths, params.way_at(start))
    metrics = build_at(paths, builder_params, out_dir, inputs.report)
    summary = TuningSummary(
        goal=params.goal,
        prompt_tokens=params.prompt_tokens,
        new_tokens=params.new_tokens,
        layers=0,
        trials=(),
        chosen=None,
        pinned=pinned,
        left_out=_left_out(params, start),
        not_tuned=why,
    )
    return {**metrics, **params.told(start)}, summary


def _pinned(params: TuneParams, built: Point, session: Point) -> dict[str, JsonValue]:
    """Return the parameters of ``model_builder`` for a choice: those that were searched over, and
    those that are neither default nor set by the target or elsewhere in the config."""
    threads, options = params.settings(session)
    pinned: dict[str, JsonValue] = params.builder(built).model_dump(
        mode="json", exclude_defaults=True, exclude={"execution_provider", "trust_remote_code"}
    )
    pinned |= {"precision": params.precision, **built}
    pinned.pop(PASSES, None)
    if threads is not None:
        pinned["threads"] = threads
    if options:
        pinned["session"] = {str(name): value for name, value in options.items()}
    return pinned


def _left_out(params: TuneParams, built: Point) -> tuple[str, ...]:
    """Return the passes that a choice does not use."""
    return tuple(name for name in params.quantizers if name not in params.way_at(built))
