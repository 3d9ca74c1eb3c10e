"""Checks that artifacts were made with the versions in the lock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from targets.build import BuildOutcome
from targets.errors import EnvironmentUnable
from targets.place import Place
from targets.toolchain.requirements import read_lock
from targets.toolchain.toolchain import Toolchain


def require_lock_of_requirements(places: tuple[Place, ...]) -> None:
    """Raise ``EnvironmentUnable`` if requirements were changed after they were locked."""
    problems = [problem for place in places for problem in _unlocked(place.toolchain)]
    if problems:
        raise EnvironmentUnable("; ".join(problems), "make the lock again with `nox -s lock`")


def require_made_with_lock(outcome: BuildOutcome, place: Place) -> None:
    """Raise ``EnvironmentUnable`` if a step ran with another version than that in the lock."""
    versions = {pin.name: pin.version for pin in read_lock(place.toolchain.lock)}
    wrong = {
        f"{name} {version} (locked: {versions[canonicalize_name(name)]})"
        for step in (planned.step for planned in outcome.plan.steps)
        if step.target == place.toolchain.target
        for name, version in outcome.results[step.name].versions.items()
        if canonicalize_name(name) in versions
        and Version(version) != versions[canonicalize_name(name)]
    }
    if wrong:
        raise EnvironmentUnable(
            f"{outcome.report.target} was not made with its locked toolchain: "
            f"{', '.join(sorted(wrong))}",
            "something was installed into it: remove the environment or image that `doctor` names, "
            "and the results in the cache, and build again",
        )


def _unlocked(toolchain: Toolchain) -> Iterator[str]:
    pins = {pin.name: pin.version for pin in read_lock(toolchain.lock)}
    for file, line in _lines(toolchain.requirement_files):
        try:
            requirement = Requirement(line.partition("#")[0].strip())
        except InvalidRequirement:
            continue  # a comment, an empty line, or an option of uv's
        version = pins.get(canonicalize_name(requirement.name))
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            state = "does not have it" if version is None else f"has {version}"
            yield (
                f"{file.name} of {file.parent.name} asks for {requirement}, "
                f"{toolchain.lock.name} {state}"
            )


def _lines(files: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            yield file, line
