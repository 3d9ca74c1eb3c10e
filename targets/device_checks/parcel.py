"""``checks/`` beside an artifact: everything that its checks need to run on another machine.

::

    checks.json     the check steps, and the digests of the artifact's files
    inputs/NAME/    answers, logits and times of the models that it is compared with, under the
                    names of the steps that made them, and the user's scripts
    data/NAME/      the files of the data set, and of those that serve as its parts
    code/CHECK/     the code of the user's own check
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from pipeline.contract.data_files import ROWS_FILE
from pipeline.contract.file_digest import FileDigest
from pipeline.contract.frozen import Frozen
from pipeline.contract.plan import DataInput, PathRef, SourceInput, Step, StepInput
from pipeline.contract.result import StepResult
from pipeline.contract.roles import ROLES
from pipeline.contract.ways import of_way, way_of
from pipeline.process.packages import PACKAGES
from pipeline.reading.files import UnreadableError
from pipeline.reading.model_file import read_model
from targets.atomic import remove_leftovers, replace_folder, sibling_folder
from targets.cache import link_tree
from targets.errors import ConfigError, Problem
from targets.planner.build_plan import BuildPlan

FOLDER = "checks"
ROOT = "checks"
"""Name of the plan's root for that folder."""
ARTIFACT_ROOT = "artifact"

_FILE = "checks.json"
_KEY = re.compile("[0-9a-f]{64}")
_LEFT_BEHIND = {str(role) for role, source in ROLES.items() if not source.travels}
"""Roles that are left out because of their size: the merged checkpoint. Checks that need it are
unverified or check less."""


class Parcel(Frozen):
    """The checks of one artifact."""

    build: str
    target: str
    files: tuple[FileDigest, ...]
    """The artifact's files as they were built."""
    steps: tuple[Step, ...]


def pack(
    folder: Path,
    plan: BuildPlan,
    results: Mapping[str, StepResult],
    output: Callable[[StepInput], Path],
) -> None:
    """Write ``checks/`` into ``folder``, completely or not at all; nothing if it exists.

    ``output`` returns the path of a step's output.
    """
    files = results[plan.artifact].files
    way = way_of(results[plan.artifact].metrics)
    checks = (planned.step for planned in plan.steps if _can_travel(planned.step))
    steps = [step.model_copy(update={"inputs": of_way(step.inputs, way)}) for step in checks]
    parcel = Parcel(
        build=plan.build,
        target=plan.target,
        files=files,
        steps=tuple(_portable(step, results) for step in steps),
    )
    text = parcel.model_dump_json(indent=1) + "\n"
    place = folder / FOLDER
    if (place / _FILE).is_file() and (place / _FILE).read_text("utf-8") == text:
        return
    remove_leftovers(place)
    with sibling_folder(place) as fresh:
        for step in steps:
            _pack_inputs(fresh, step, plan, output)
        (fresh / _FILE).write_text(text, encoding="utf-8")
        replace_folder(fresh, place)


def _can_travel(step: Step) -> bool:
    """Return whether a step is a check that another machine can run: not one that needs packages,
    which are those of this platform."""
    return step.kind == "check" and PACKAGES not in step.inputs


def unpack(folder: Path) -> Parcel:
    """Return the checks of the artifact in ``folder``. Raises ``ConfigError`` if it has none."""
    file = folder / FOLDER / _FILE
    try:
        parcel = read_model(file, Parcel)
        for problem in _problems(parcel):
            raise UnreadableError(problem)
        return parcel
    except FileNotFoundError:
        problem, advice = "is not there", "give the folder that a build made, as dist/tone/cuda"
    except (UnreadableError, OSError) as error:
        problem, advice = f"cannot be read: {error}", "build the artifact again"
    raise ConfigError([Problem(problem, file, suggestion=advice)])


def _problems(parcel: Parcel) -> Iterator[str]:
    """Yield what no build writes: whoever sends the folder could have written it."""
    names = [step.name for step in parcel.steps]
    for step in parcel.steps:
        if step.kind != "check" or names.count(step.name) > 1:
            yield f"{step.name} is no check, or stands twice"
        if not _KEY.fullmatch(step.key):
            yield f"the key of {step.name} is none"
        for source in _sources(step):
            place = PurePosixPath(source.ref.path) if isinstance(source, SourceInput) else None
            if place is None or place.is_absolute() or ".." in place.parts:
                yield f"{step.name} reads what lies outside of the folder"


def _sources(step: Step) -> Iterator[StepInput | SourceInput]:
    """Yield all that a step reads."""
    yield from step.inputs.values()
    for data in step.data.all() if step.data is not None else ():
        yield from data.rows
    if step.code is not None:
        yield step.code


def _portable(step: Step, results: Mapping[str, StepResult]) -> Step:
    """Return ``step`` with its inputs at their paths beside the artifact."""
    inputs: dict[str, StepInput | SourceInput] = {}
    for role, source in step.inputs.items():
        if role in _LEFT_BEHIND:
            continue
        ref = PathRef(root=ROOT, path=_place(source))
        if not isinstance(source, StepInput):
            inputs[role] = source.model_copy(update={"ref": ref})
            continue
        if role == "artifact":
            ref = PathRef(root=ARTIFACT_ROOT)
        metrics = results[source.step].metrics
        inputs[role] = SourceInput(ref=ref, digest=source.key, metrics=metrics)
    data = None if step.data is None else _portable_data(step.data)
    code = step.code
    if code is not None:
        code = SourceInput(ref=_code_ref(step), digest=code.digest)
    return step.model_copy(
        update={"inputs": inputs, "data": data, "code": code, "absent_device": ""}
    )


def _code_ref(step: Step) -> PathRef:
    return PathRef(root=ROOT, path=f"code/{step.name}")


def _portable_data(data: DataInput) -> DataInput:
    rows = tuple(
        SourceInput(
            ref=PathRef(root=ROOT, path=f"data/{data.name}/{_file_name(data, number)}"),
            digest=row.key if isinstance(row, StepInput) else row.digest,
        )
        for number, row in enumerate(data.rows)
    )
    parts = {"held_out": data.held_out, "validation": data.validation}
    moved = {role: None if part is None else _portable_data(part) for role, part in parts.items()}
    return data.model_copy(update={"rows": rows, **moved})


def _file_name(data: DataInput, number: int) -> str:
    """Return the name of a file of the data set there, numbered in case two have the same name."""
    row = data.rows[number]
    if isinstance(row, StepInput):
        return ROWS_FILE
    name = Path(row.ref.path).name
    return name if len(data.rows) == 1 else f"{number + 1}-{name}"


def _pack_inputs(
    fresh: Path, step: Step, plan: BuildPlan, output: Callable[[StepInput], Path]
) -> None:
    mounts = {mount.root: mount.source for mount in plan.mounts}
    for role, source in step.inputs.items():
        place = fresh / _place(source)
        if role in _LEFT_BEHIND | {"artifact"} or place.exists():
            continue
        if isinstance(source, StepInput):
            link_tree(output(source), place)
        else:
            _copy(mounts[source.ref.root], place)
    if step.code is not None:
        _copy(mounts[step.code.ref.root], fresh / _code_ref(step).path)
    for data in step.data.all() if step.data is not None else ():
        for number, row in enumerate(data.rows):
            place = fresh / "data" / data.name / _file_name(data, number)
            if not place.exists():
                _copy(_data_file(row, mounts, output), place)


def _data_file(
    row: StepInput | SourceInput, mounts: Mapping[str, Path], output: Callable[[StepInput], Path]
) -> Path:
    if isinstance(row, StepInput):
        return output(row) / ROWS_FILE
    return mounts[row.ref.root]


def _place(source: StepInput | SourceInput) -> str:
    """Return the path of an input in the folder. It does not use the role, because two checks may
    have different inputs for the same role."""
    if isinstance(source, StepInput):
        return f"inputs/{source.step}"
    return f"inputs/{source.ref.root}/{source.ref.path}".rstrip("/")


def _copy(source: Path, place: Path) -> None:
    """Copy a file or folder of the user, who might edit it in place."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, place)
    else:
        shutil.copyfile(source, place)
