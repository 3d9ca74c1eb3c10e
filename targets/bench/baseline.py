"""Finds the artifact to compare with: one that the user names, or that of an earlier bench."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from targets.bench.bench_schema import EarlierArtifactRecord, TargetBench
from targets.bench.measure import Baseline
from targets.cache import Cache
from targets.device_checks.checked_result import other_bytes
from targets.device_checks.run_checks import model_files
from targets.errors import ConfigError, Problem
from targets.report.dist import MODEL_DIR

_MODEL_FILE = "genai_config.json"


class EarlierArtifact(NamedTuple):
    """The artifact of an earlier bench, or the reason why it is not available."""

    baseline: Baseline | None
    where: str


def named_baselines(path: Path, targets: Sequence[str], cache: Cache) -> dict[str, Baseline]:
    """Return the baselines in ``path``, by target.

    ``path`` is a model folder, a ``dist/BUILD/TARGET``, or a ``dist/BUILD`` with several of them.
    Raises ``ConfigError`` if it is none of these, or if its target is ambiguous.
    """
    several = {name: path / name / MODEL_DIR for name in targets}
    models = {name: folder for name, folder in several.items() if _is_model(folder)}
    if models:
        return {name: _baseline(folder, cache) for name, folder in models.items()}
    single = next((folder for folder in (path / MODEL_DIR, path) if _is_model(folder)), None)
    if single is None:
        problem, advice = "holds no artifact", "give a dist/BUILD/TARGET folder, or its model/"
    elif len(targets) > 1:
        problem = f"is one artifact, and {len(targets)} targets are measured"
        advice = "name the one it is for with --target"
    else:
        return {targets[0]: _baseline(single, cache)}
    raise ConfigError([Problem(problem, path, key="--baseline", suggestion=advice)])


def earlier_artifact(
    old: TargetBench, folder: Path, named: Baseline | None, cache: Cache
) -> EarlierArtifact:
    """Return the artifact that ``old`` measured, if the same bytes are still available.

    It is searched in the cache by its key, in ``folder`` (the new artifact may be the same), in its
    former folder, and at ``named``. Raises ``ConfigError`` if ``named`` is another artifact.
    """
    files = old.artifact.files
    if named is not None and other_bytes(files, named.what.files):
        problem = f"is not the {old.target} artifact of the earlier bench: " + ", ".join(
            other_bytes(files, named.what.files)
        )
        advice = "leave --baseline or --compare away, or give the folder with those bytes"
        raise ConfigError([Problem(problem, named.folder, key="--baseline", suggestion=advice)])
    cached = cache.find(old.artifact.key)
    if cached is not None and not other_bytes(files, cached.result.files):
        location = f"in the cache ({old.artifact.key[:12]})"
        return EarlierArtifact(
            Baseline(cached.output, EarlierArtifactRecord(where=location, files=files)), location
        )
    for place in (folder / MODEL_DIR, old.artifact.path):
        if _is_model(place) and not other_bytes(files, model_files(place, cache)):
            return EarlierArtifact(
                Baseline(place, EarlierArtifactRecord(where=str(place), files=files)), f"in {place}"
            )
    if named is not None:
        return EarlierArtifact(named, f"in {named.folder}")
    return EarlierArtifact(
        None, "its bytes are neither in the cache nor where they lay; --baseline names it"
    )


def _baseline(model: Path, cache: Cache) -> Baseline:
    folder = model.absolute()
    return Baseline(
        folder, EarlierArtifactRecord(where=str(folder), files=model_files(folder, cache))
    )


def _is_model(folder: Path) -> bool:
    return (folder / _MODEL_FILE).is_file()
