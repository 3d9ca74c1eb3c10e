"""Estimates the disk space for the missing steps of a plan, from their parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.contract.errors import StepError
from pipeline.contract.plan import SourceInput, Step, StepInput
from pipeline.contract.schema import GGUF_SUFFIX
from pipeline.contract.space import EstimatesSpace, SpaceEstimate
from pipeline.onnx.checkpoint import Checkpoint
from pipeline.passes.base import BasePass
from targets.cache import CachedStep
from targets.config.chain import PassCall
from targets.disk import CACHE_REMEDY, Need
from targets.planner.build_plan import BuildPlan, PlannedStep
from targets.runtimes.runtime import Mount

_LITTLE = 1_000_000
"""Assumed size of small outputs (answers, rows, times), in bytes."""
_TOKENS = 2
"""Bytes of tokens for each byte of rows: four of a token, which is of some letters."""
_LARGE = ("checkpoint", "adapter", "onnx")


@dataclass(frozen=True)
class Space:
    """The disk space for all steps together, in bytes."""

    kept: int
    """Space of their outputs."""
    most: int
    """Largest space at any time: outputs so far, and the temporary files of the running step."""
    artifact: int
    """Space of the artifact; 0 if it is unknown."""
    unknown: tuple[str, ...]
    """Steps whose space is unknown; they are not counted."""


def disk_space(plan: BuildPlan, staying: Set[str] = frozenset()) -> Space:
    """Return the space that the missing steps of ``plan`` need. Reads headers of checkpoints.

    The outputs of the steps with the keys ``staying`` take none.
    """
    sources = {mount.root: mount.source for mount in plan.mounts}
    known: dict[str, SpaceEstimate] = {}
    missing = {planned.step.name for planned in plan.missing}
    kept = most = 0
    unknown = []
    for planned in plan.steps:
        call = planned.call
        if call is None:
            continue
        if planned.cached is not None:
            known[planned.step.name] = _cached(planned.cached, call.implementation)
            continue
        written = _written(planned.step, call, known, sources)
        if planned.step.name not in missing and written is not None:
            known[planned.step.name] = written  # it is there once already
            continue
        if written is None:
            unknown.append(planned.step.name)
            continue
        known[planned.step.name] = written
        if planned.step.key in staying:
            continue
        most = max(most, kept + written.kept + written.temporary)
        kept += written.kept
    artifact = known.get(plan.artifact)
    return Space(kept, most, artifact.kept if artifact else 0, tuple(unknown))


def disk_needs(
    plan: BuildPlan, cache: Path, dist: Path, staying: Set[str] = frozenset()
) -> tuple[Need, ...]:
    """Return the space for the results, but those of ``staying``, and for the copy of the artifact
    that is handed out."""
    space = disk_space(plan, staying)
    return (
        Need(cache, space.most, "results", CACHE_REMEDY),
        Need(dist, space.artifact, "the artifact", "--dist names another folder for artifacts"),
    )


def foreseen(
    source: StepInput | SourceInput, steps: Sequence[PlannedStep], mounts: Iterable[Mount]
) -> SpaceEstimate | None:
    """Return the space of an input as the config and the user's files let expect it, whatever of
    ``steps`` is cached; ``None`` if that is unknown, as of what a hub gives."""
    sources = {mount.root: mount.source for mount in mounts}
    by_name = {planned.step.name: planned for planned in steps}

    def of(source: StepInput | SourceInput) -> SpaceEstimate | None:
        if isinstance(source, SourceInput):
            return _of_the_user(_place(source, sources))
        planned = by_name[source.step]
        if planned.call is None:
            return None
        before = [one for one in planned.step.inputs.values() if isinstance(one, StepInput)]
        known = {one.step: space for one in before if (space := of(one)) is not None}
        return _written(planned.step, planned.call, known, sources)

    return of(source)


def _cached(cached: CachedStep, implementation: type[BasePass[Any]]) -> SpaceEstimate:
    size = sum(file.bytes for file in cached.result.files)
    if implementation.produces != "checkpoint" or cached.elsewhere:
        return SpaceEstimate(size)
    return _checkpoint(cached.output, size)


def _checkpoint(folder: Path, size: int) -> SpaceEstimate:
    try:
        return SpaceEstimate(size, weights=Checkpoint(folder).tensors)
    except StepError:
        return SpaceEstimate(
            size
        )  # other weight files, or a folder that the pass itself will refuse


def _written(
    step: Step,
    call: PassCall,
    known: dict[str, SpaceEstimate],
    sources: dict[str, Path],
) -> SpaceEstimate | None:
    """Return the estimate for a pass that must run; ``None`` if it is unknown."""
    inputs = {}
    for role, source in step.inputs.items():
        if isinstance(source, SourceInput):
            inputs[role] = _of_the_user(_place(source, sources))
        elif source.step in known:
            inputs[role] = known[source.step]
    if isinstance(call.params, EstimatesSpace):
        return call.params.writes(inputs)
    implementation = call.implementation
    if implementation.produces == "tokens" and step.data is not None:
        files = [sources[source.ref.root] for source in step.data.sources()]
        return SpaceEstimate(_LITTLE + _TOKENS * sum(file.stat().st_size for file in files))
    if implementation.produces not in _LARGE:
        return SpaceEstimate(_LITTLE)
    alike = [
        role for role, kind in implementation.consumes.items() if kind == implementation.produces
    ]
    roles = (*alike, *implementation.sources)
    return next((inputs[role] for role in roles if role in inputs), None)


def _place(source: SourceInput, sources: Mapping[str, Path]) -> Path:
    mounted = sources[source.ref.root]
    return mounted if mounted.is_file() else mounted / source.ref.path


def _of_the_user(path: Path) -> SpaceEstimate:
    if path.is_file():
        size = path.stat().st_size
        if path.suffix != GGUF_SUFFIX:
            return SpaceEstimate(size)
        from pipeline.gguf.header import read_header
        from pipeline.gguf.size import weights_of

        return SpaceEstimate(size, weights=weights_of(read_header(path), size))
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return _checkpoint(path, size) if (path / "config.json").is_file() else SpaceEstimate(size)
