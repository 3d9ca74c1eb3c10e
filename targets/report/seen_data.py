"""What is seen in the data set of a plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.contract.data_files import ROWS_FILE, DataFiles
from pipeline.contract.errors import StepError
from pipeline.data.findings import Look
from pipeline.data.trained_view import Sample, TrainedView
from targets.config.data import rows_step
from targets.config.load import LoadedConfig
from targets.errors import InputRefused
from targets.planner.build_plan import BuildPlan
from targets.rendered_rows import RenderedRows
from targets.report.data_rows import plain_samples

if TYPE_CHECKING:
    from pipeline.data.split import Parts


@dataclass(frozen=True)
class SeenData:
    """What is seen in the data set of a build."""

    build: str
    name: str
    look: Look | None
    """``None`` where the rows cannot be seen."""
    unseen: str = ""
    """Why they cannot."""
    view: TrainedView | None = None
    """What a training step shows of the same rows."""
    unknown: str = ""
    """Why that is not known."""
    refused: InputRefused | None = None
    """The error with which a training step would refuse the rows."""
    samples: tuple[Sample, ...] = ()


def seen_data(
    loaded: LoadedConfig,
    plans: Sequence[BuildPlan],
    render: Callable[[Look], RenderedRows],
) -> SeenData | None:
    """Look at the main data set of ``plans``, those of one build; ``None`` if there is none.

    ``render`` says what a training step shows of rows that can be seen.
    """
    if loaded.main_data is None:
        return None
    name = loaded.main_data
    files = next(filter(None, (_files(loaded, plan, name) for plan in plans)), None)
    if files is None:
        unseen = "a step makes its rows, which are shown once it has run"
        return SeenData(plans[0].build, name, None, unseen)
    try:
        seen = loaded.known_rows.see(files, _samples)
    except StepError as error:  # of made rows: the host has checked all others
        refused = InputRefused(str(error), error.hint)
        return SeenData(plans[0].build, name, None, str(error), refused=refused)
    rendered = render(seen.look)
    view = rendered.view
    return SeenData(
        plans[0].build,
        name,
        seen.look,
        view=view,
        unknown=rendered.unknown,
        refused=rendered.refused,
        samples=seen.samples if view is None else view.samples,
    )


def _samples(parts: Parts) -> tuple[Sample, ...]:
    return plain_samples(parts.train or parts.eval)


def _files(loaded: LoadedConfig, plan: BuildPlan, name: str) -> DataFiles | None:
    spec = loaded.config.data[name]
    paths = loaded.data_files[name]
    if spec.is_made:
        steps = {planned.step.name: planned for planned in plan.steps}
        maker = steps.get(rows_step(name))
        if maker is None or maker.cached is None or maker.cached.elsewhere:
            return None
        paths = (maker.cached.output / ROWS_FILE,)
    parts: dict[str, DataFiles] = {}
    for role, other in (("held_out", spec.held_out), ("validation", spec.validation_data)):
        if other is not None:
            files = _files(loaded, plan, other)
            if files is None:
                return None
            parts[role] = files
    return DataFiles(
        name,
        spec,
        paths,
        made=spec.is_made,
        held_out=parts.get("held_out"),
        validation=parts.get("validation"),
    )
