"""``checks/`` beside an artifact: all that its checks need, so that any machine can run them.

::

    checks.json     the check steps, and the digests of the artifact's files
    inputs/ROLE/    answers and logits of the models it is held against
    data/FILE       the data set
    code/CHECK/     the code of a check of the user's own
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import ValidationError

from pipeline.model import Frozen
from pipeline.plan import DataInput, PathRef, SourceInput, Step, StepInput
from pipeline.result import FileDigest, StepResult
from targets.cache import link_tree
from targets.errors import ConfigError, Problem
from targets.planner.build_plan import BuildPlan

FOLDER = "checks"
ROOT = "checks"
"""Root of a plan that stands for that folder."""
ARTIFACT_ROOT = "artifact"

_FILE = "checks.json"
_LEFT_BEHIND = {"model"}
"""Roles that are too large to travel: the merged checkpoint. Checks do without, or say so."""


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
    """Write ``checks/`` into ``folder``, whole or not at all; nothing if it is there already.

    ``output`` says where the output of a step lies.
    """
    files = results[plan.artifact].files
    steps = [planned.step for planned in plan.steps if planned.step.kind == "check"]
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
    fresh = folder / f".{FOLDER}.{uuid.uuid4().hex[:8]}"
    try:
        for step in steps:
            _pack_inputs(fresh, step, plan, output)
        fresh.mkdir(exist_ok=True)
        (fresh / _FILE).write_text(text, encoding="utf-8")
        shutil.rmtree(place, ignore_errors=True)
        fresh.rename(place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def unpack(folder: Path) -> Parcel:
    """Return the checks of the artifact in ``folder``. Raises ``ConfigError`` if it has none."""
    file = folder / FOLDER / _FILE
    try:
        return Parcel.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        problem, advice = "is not there", "give the folder that a build made, as dist/tone/cuda"
    except (ValidationError, OSError) as error:
        problem, advice = f"cannot be read: {error}", "build the artifact again"
    raise ConfigError([Problem(problem, file, suggestion=advice)])


def _portable(step: Step, results: Mapping[str, StepResult]) -> Step:
    """Return ``step`` with its inputs as they lie beside the artifact."""
    inputs: dict[str, StepInput | SourceInput] = {}
    for role, source in step.inputs.items():
        if role in _LEFT_BEHIND or not isinstance(source, StepInput):
            continue
        ref = PathRef(root=ROOT, path=f"inputs/{role}")
        if role == "artifact":
            ref = PathRef(root=ARTIFACT_ROOT)
        metrics = results[source.step].metrics
        inputs[role] = SourceInput(ref=ref, digest=source.key, metrics=metrics)
    data = step.data
    if data is not None:
        ref = PathRef(root=ROOT, path=f"data/{Path(data.ref.path).name}")
        data = DataInput(name=data.name, ref=ref, digest=data.digest, spec=data.spec)
    code = step.code
    if code is not None:
        code = SourceInput(ref=_code_ref(step), digest=code.digest)
    return step.model_copy(
        update={"inputs": inputs, "data": data, "code": code, "absent_device": ""}
    )


def _code_ref(step: Step) -> PathRef:
    return PathRef(root=ROOT, path=f"code/{step.name}")


def _pack_inputs(
    fresh: Path, step: Step, plan: BuildPlan, output: Callable[[StepInput], Path]
) -> None:
    for role, source in step.inputs.items():
        place = fresh / "inputs" / role
        if role in _LEFT_BEHIND | {"artifact"} or place.exists():
            continue
        if isinstance(source, StepInput):
            link_tree(output(source), place)
    mounts = {mount.root: mount.source for mount in plan.mounts}
    if step.code is not None:
        shutil.copytree(mounts[step.code.ref.root], fresh / _code_ref(step).path)
    if step.data is not None:
        place = fresh / "data" / Path(step.data.ref.path).name
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            # A copy: the user's own file may be edited in place.
            shutil.copyfile(mounts[step.data.ref.root], place)
