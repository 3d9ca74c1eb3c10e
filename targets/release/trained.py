"""The archive of trained outputs, from which a release can be rebuilt on another kind of CPU.

Below the archive's folder, ``<step>-<first 8 digits of its key>/`` holds the output of a training
step, and ``trained.json`` lists them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator

from pipeline.contract.file_digest import FileDigest
from pipeline.contract.frozen import Frozen
from targets.build import BuildOutcome
from targets.cache import Cache
from targets.release.archive import path_problem
from targets.release.inputs import trains

INDEX = "trained.json"


def _plain(path: str) -> str:
    problem = path_problem(path)
    if problem:
        raise ValueError(f"{path!r} {problem}")
    return path


def _all_plain(files: tuple[FileDigest, ...]) -> tuple[FileDigest, ...]:
    for file in files:
        _plain(file.path)
    return files


class TrainedStep(Frozen):
    """A training step and its output."""

    folder: Annotated[str, AfterValidator(_plain)]
    name: str
    type: str
    key: str
    files: Annotated[tuple[FileDigest, ...], AfterValidator(_all_plain)]


class Trained(Frozen):
    """``trained.json``."""

    schema_version: Literal[1] = 1
    steps: tuple[TrainedStep, ...]


def trained_files(outcomes: Iterable[BuildOutcome], cache: Cache) -> dict[str, Path | bytes]:
    """Return the files of the archive, by path below its folder; empty if nothing was trained."""
    files: dict[str, Path | bytes] = {}
    steps: dict[str, TrainedStep] = {}
    for outcome in outcomes:
        for step in (planned.step for planned in outcome.plan.steps):
            if not trains(step) or step.key in steps:
                continue
            folder = f"{step.name}-{step.key[:8]}"
            made = outcome.results[step.name].files
            steps[step.key] = TrainedStep(
                folder=folder, name=step.name, type=step.type, key=step.key, files=made
            )
            output = cache.output(step.key)
            files |= {f"{folder}/{file.path}": output / file.path for file in made}
    if steps:
        index = Trained(steps=tuple(sorted(steps.values(), key=lambda step: step.folder)))
        files[INDEX] = (index.model_dump_json(indent=2) + "\n").encode()
    return files
