"""Copies results that are not made again into an empty cache: trained outputs and downloads."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.contract.file_digest import FileDigest
from pipeline.contract.plan import OUTPUT_DIR, Step
from pipeline.contract.result import RESULT_FILE, StepResult
from pipeline.contract.sha256 import sha256_of_file
from pipeline.reading.files import UnreadableError
from pipeline.reading.model_file import read_model
from pipeline.run.registry import load_pass
from targets.cache import Cache, CachedStep
from targets.errors import CheckFailed, ConfigError, Problem
from targets.planner.build_plan import BuildPlan
from targets.release.archive import extract
from targets.release.inputs import downloads, trains
from targets.release.layout import ADAPTER
from targets.release.trained import INDEX, Trained

_Given = tuple[Step, Path, tuple[FileDigest, ...]]


def copy_downloads(
    plans: Iterable[BuildPlan], store: Cache, clean: Cache
) -> tuple[dict[str, CachedStep], list[str]]:
    """Copy the downloads of steps of ``plans`` from ``store`` to ``clean``.

    Returns the copied steps by key, and the names of the steps that ``store`` lacks.
    """
    downloaded: dict[str, CachedStep] = {}
    missing = []
    for step in _steps(plans).values():
        if not downloads(step):
            continue
        cached = store.find(step.key)
        if cached is None:
            missing.append(step.name)
            continue
        with clean.work_folder() as work:
            folder = clean.begin(work, [step], cached.result.origin)
            shutil.copytree(cached.folder, folder / step.key)
            clean.finish(folder)
        downloaded[step.key] = cached
    return downloaded, missing


def seed_results(source: Path, plans: Iterable[BuildPlan], cache: Cache) -> str:
    """Import the trained outputs in ``source`` as results of ``plans`` into ``cache``.

    ``source`` is a release, its adapter archive, or a PEFT adapter folder, which replaces the only
    step that trains an adapter. Returns the names of the steps in words. Raises ``ConfigError`` if
    they do not fit.
    """
    steps = {key: step for key, step in _steps(plans).items() if trains(step)}
    with cache.scratch_folder() as scratch:
        outputs = list(_given(source, steps.values(), scratch))
        with cache.work_folder() as work:
            into = cache.begin(work, [step for step, _, _ in outputs], {})
            for step, folder, files in outputs:
                _put(step, folder, files, into)
            cache.finish(into)
    return ", ".join(step.name for step, _, _ in outputs)


def _steps(plans: Iterable[BuildPlan]) -> dict[str, Step]:
    """Return all steps of ``plans``, each once, per key."""
    return {planned.step.key: planned.step for plan in plans for planned in plan.steps}


def _given(source: Path, steps: Iterable[Step], scratch: Path) -> Iterator[_Given]:
    required = list(steps)
    if not required:
        raise _misfit(source, "this config trains nothing")
    if source.is_dir() and (source / "adapter_config.json").is_file():
        yield _adapter_folder(source, required)
        return
    archive = _archive(source)
    extract(archive, scratch)
    root = scratch / archive.stem
    try:
        index = read_model(root / INDEX, Trained)
    except OSError:
        raise CheckFailed(f"{archive} holds no {INDEX}") from None
    except UnreadableError as error:
        raise CheckFailed(f"{archive}: {INDEX} cannot be used: {error}") from None
    by_key = {step.key: step for step in index.steps}
    missing = sorted(step.name for step in required if step.key not in by_key)
    if missing:
        raise _misfit(
            archive,
            f"was trained from other inputs than {', '.join(missing)} here",
            "take config, data and code as they were: the release names the commit",
        )
    for step in required:
        trained = by_key[step.key]
        for file in trained.files:
            path = root / trained.folder / file.path
            if not path.is_file() or sha256_of_file(path) != file.sha256:
                raise CheckFailed(
                    f"{archive}: {trained.folder}/{file.path} is not what {INDEX} says"
                )
        yield step, root / trained.folder, trained.files


def _archive(source: Path) -> Path:
    if source.is_file():
        return source
    archives = sorted(source.glob(f"*-{ADAPTER}.tar"))
    if len(archives) != 1:
        raise _misfit(
            source, "holds no adapter", "give a release, its adapter archive, or a folder"
        )
    return archives[0]


def _adapter_folder(source: Path, steps: Iterable[Step]) -> _Given:
    adapters = [step for step in steps if load_pass(step.type).produces == "adapter"]
    if len(adapters) != 1:
        raise _misfit(source, f"cannot stand for {len(adapters)} trainings")
    paths = sorted(path for path in source.rglob("*") if path.is_file())
    return adapters[0], source, tuple(_digest(source, path) for path in paths)


def _digest(root: Path, path: Path) -> FileDigest:
    return FileDigest(
        path=path.relative_to(root).as_posix(),
        bytes=path.stat().st_size,
        sha256=sha256_of_file(path),
    )


def _put(step: Step, folder: Path, files: tuple[FileDigest, ...], work: Path) -> None:
    (work / step.key / OUTPUT_DIR).mkdir(parents=True)
    for file in files:
        target = work / step.key / OUTPUT_DIR / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / file.path, target)
    result = StepResult(
        name=step.name, type=step.type, key=step.key, seconds=0, peak_rss_bytes=0, files=files
    )
    (work / step.key / RESULT_FILE).write_text(result.model_dump_json(), encoding="utf-8")


def _misfit(source: Path, problem: str, advice: str = "") -> ConfigError:
    return ConfigError([Problem(problem, source, key="--from-adapter", suggestion=advice)])
