"""Runs the checks of an artifact from its folder, in its target's toolchain on this machine."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path

from pipeline.contract.file_digest import FileDigest
from pipeline.contract.plan import SourceInput, Step
from pipeline.contract.result import StepResult
from targets.cache import Cache
from targets.device_checks.checked_result import CheckedResult, other_bytes
from targets.device_checks.parcel import ARTIFACT_ROOT, FOLDER, ROOT, Parcel
from targets.errors import CheckFailed
from targets.machine import system_name
from targets.place import Place
from targets.report.compose_report import evidence, figures_of, verdicts_of
from targets.report.dist import MODEL_DIR
from targets.report.report_schema import CheckedReport
from targets.run_steps import run_uncached
from targets.runtimes.runtime import Mount, Runtime, StartRuntime
from targets.view import View

_KEY = re.compile("[0-9a-f]{64}")


def artifact_files(folder: Path, cache: Cache) -> tuple[FileDigest, ...]:
    """Return the current digests of the model files in the artifact folder."""
    return model_files(folder / MODEL_DIR, cache)


def model_files(model: Path, cache: Cache) -> tuple[FileDigest, ...]:
    """Return the current digests of all files in a model folder."""
    paths = sorted(path for path in model.rglob("*") if path.is_file())
    names = [path.relative_to(model).as_posix() for path in paths]
    return tuple(
        FileDigest(path=name, bytes=path.stat().st_size, sha256=digest)
        for name, path, digest in zip(names, paths, cache.digests.files(paths), strict=True)
    )


def require_built_bytes(folder: Path, parcel: Parcel, files: tuple[FileDigest, ...]) -> None:
    """Raise ``CheckFailed`` if the files of the artifact differ from those that were built."""
    differing = other_bytes(parcel.files, files)
    if differing:
        raise CheckFailed(
            f"{folder / MODEL_DIR} is not what was built: {', '.join(differing)}",
            "copy the folder again, or build the artifact again",
        )


def is_of_a_build_here(parcel: Parcel, files: tuple[FileDigest, ...], cache: Cache) -> bool:
    """Return whether a build on this machine made ``files``, as the cache records: what lies in
    the folder beside them is not believed."""
    keys = {
        source.digest
        for step in parcel.steps
        if isinstance(source := step.inputs.get("artifact"), SourceInput)
    }
    # The folder's word decides which entry of the cache is looked at, so it must be nothing else.
    made = [cache.find(key) for key in keys if _KEY.fullmatch(key)]
    return any(step is not None and not other_bytes(step.result.files, files) for step in made)


def run_checks(
    folder: Path,
    parcel: Parcel,
    place: Place,
    start_runtime: StartRuntime,
    cache: Cache,
    view: View,
) -> CheckedResult:
    """Run the checks and return their results. Only ``folder`` and the toolchain are read.

    Raises ``CheckFailed`` before any work if the artifact's files differ from those that were
    built.
    """
    files = artifact_files(folder, cache)
    require_built_bytes(folder, parcel, files)
    runtime = start_runtime([place.toolchain])
    record = runtime.prepare(place.toolchain, view.say)
    log = cache.root / "logs" / f"check-{parcel.build}-{parcel.target}.log"
    results = run_beside(folder, parcel.build, parcel.steps, place, runtime, cache, view, log)
    return CheckedResult(
        build=parcel.build,
        target=parcel.target,
        files=files,
        where=CheckedReport(
            device=place.device.description if place.device.here else "",
            system=system_name(),
            runtime=record.runtime,
            toolchain=place.toolchain.digest,
            at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        ),
        checks=verdicts_of(results),
        latency=evidence(results, "latency"),
        quality=evidence(results, "quality"),
        figures=figures_of(results),
    )


def run_beside(
    folder: Path,
    build: str,
    steps: Iterable[Step],
    place: Place,
    runtime: Runtime,
    cache: Cache,
    view: View,
    log: Path,
    more: Iterable[Mount] = (),
) -> tuple[StepResult, ...]:
    """Run check steps on the artifact in ``folder`` and return their results.

    They can read that folder and the mounts ``more``. Nothing is cached.
    """
    mounts = (
        Mount(ARTIFACT_ROOT, folder / MODEL_DIR),
        Mount(ROOT, folder / FOLDER),
        *more,
    )
    return run_uncached(build, steps, mounts, place, runtime, cache, log, view.event)
