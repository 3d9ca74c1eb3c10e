"""Reads the rows of a plan's data set on this machine, if they are here."""

from __future__ import annotations

from pipeline.contract.data_files import ROWS_FILE, DataFiles
from pipeline.data.parts import load_parts
from pipeline.data.split import Parts
from targets.config.data import rows_step
from targets.config.load import LoadedConfig
from targets.planner.build_plan import BuildPlan


def data_parts(loaded: LoadedConfig, plan: BuildPlan) -> Parts | None:
    """Return the parts of the main data set; ``None`` without one, or while a step has still to
    make rows of it. Raises ``StepError`` for made rows that do not fit the settings."""
    if loaded.main_data is None:
        return None
    files = _files(loaded, plan, loaded.main_data)
    return None if files is None else load_parts(files)


def _files(loaded: LoadedConfig, plan: BuildPlan, name: str) -> DataFiles | None:
    spec = loaded.config.data[name]
    paths = loaded.data_files[name]
    if spec.is_made:
        steps = {planned.step.name: planned for planned in plan.steps}
        maker = steps.get(rows_step(name))
        if maker is None or maker.cached is None:
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
