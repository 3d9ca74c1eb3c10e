"""The inputs of a release, each with its digest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from pipeline.contract.file_digest import FileDigest
from pipeline.contract.plan import SourceInput, Step
from pipeline.contract.schema import HUB_PREFIX
from pipeline.contract.sha256 import dir_hash, sha256_of_file
from pipeline.run.registry import load_pass
from targets.build import BuildOutcome
from targets.config.load import LoadedConfig
from targets.place import Place
from targets.planner.build_plan import BuildPlan
from targets.release.source import Source
from targets.release.statement import ResourceDescriptor, time_text
from targets.target import IMAGES_DIR
from targets.toolchain.registry.settings import is_pulled
from targets.toolchain.rootfs import MAKERS

SOURCE = "source"
QUERN = "quern"
CONFIG = "config"

COMMITTED = "committed"
"""Annotation with the time of a commit."""

FOLDER = "dirHash"
"""in-toto's name of a digest of all files of a folder."""

TRAINED = "trained/"
"""Prefix of the names of what training steps made."""
BASE_IMAGE = "base-image/"
SYSTEM = "system/"
IMAGE = "image/"
RUNTIME = (BASE_IMAGE, IMAGE, SYSTEM)
"""Prefixes of the names of inputs that are not the same in every runtime."""

MADE = (TRAINED, "fetched/", *RUNTIME)
"""Prefixes of the names of inputs that are known only after a build."""


def dependencies(
    loaded: LoadedConfig,
    plans: Sequence[BuildPlan],
    places: Iterable[Place],
    sources: Mapping[str, Source],
) -> Iterator[ResourceDescriptor]:
    """Yield the inputs that are known before the build: sources, config, data, models, locks.

    ``sources`` are the repositories of the config (:data:`SOURCE`) and of Quern (:data:`QUERN`).
    """
    for name, source in sources.items():
        yield _commit(name, source)
    yield ResourceDescriptor(
        name=CONFIG,
        digest={"sha256": sha256_of_file(loaded.file)},
        annotations={"path": _path(loaded.file, sources[SOURCE])},
    )
    model = loaded.config.model.source
    if model is not None and model.startswith(HUB_PREFIX):
        _, _, revision = model.partition("@")
        yield ResourceDescriptor(name="model", uri=model, digest={"gitCommit": revision})
    yield from _files_of_user(plans, sources[SOURCE])
    for place in places:
        toolchain = place.toolchain
        yield ResourceDescriptor(
            name=f"lock/{toolchain.target}",
            digest={"sha256": sha256_of_file(toolchain.lock)},
            annotations={
                "path": toolchain.lock.relative_to(IMAGES_DIR.parent).as_posix(),
                "toolchain": toolchain.digest,
            },
        )


def produced_inputs(outcomes: Iterable[BuildOutcome]) -> Iterator[ResourceDescriptor]:
    """Yield the outputs of downloads and trainings, the base images of the steps, and images that
    a registry gave."""
    seen: set[str] = set()
    for outcome in outcomes:
        for step in (planned.step for planned in outcome.plan.steps):
            word = _word(step)
            if word and step.key not in seen:
                seen.add(step.key)
                yield ResourceDescriptor(
                    name=f"{word}/{step.name}",
                    digest={FOLDER: files_digest(outcome.results[step.name].files)},
                    annotations={"step": step.key},
                )
        base = outcome.report.toolchain.base_image
        if base and base not in seen:
            seen.add(base)
            reference, _, digest = base.rpartition("@sha256:")
            made_here = reference.partition(":")[0] in MAKERS
            yield ResourceDescriptor(
                name=f"{BASE_IMAGE}{outcome.report.target}",
                uri="" if made_here else reference,
                digest={"sha256": digest},
                annotations={"made": reference} if made_here else {},
            )
        image = outcome.report.toolchain.image
        if is_pulled(image) and image not in seen:
            seen.add(image)
            reference, _, digest = image.rpartition("@sha256:")
            yield ResourceDescriptor(
                name=f"{IMAGE}{outcome.report.target}", uri=reference, digest={"sha256": digest}
            )


def trains(step: Step) -> bool:
    """Return whether ``step`` trains a model."""
    return step.kind == "pass" and step.code is None and load_pass(step.type).trains


def downloads(step: Step) -> bool:
    """Return whether ``step`` downloads something."""
    return step.kind == "pass" and step.network


def files_digest(files: Iterable[FileDigest]) -> str:
    """Return the ``dirHash`` of ``files``, like that of their folder."""
    return dir_hash((file.path, file.sha256) for file in files)


def _word(step: Step) -> str:
    if trains(step):
        return "trained"
    return "fetched" if downloads(step) else ""


def _commit(name: str, source: Source) -> ResourceDescriptor:
    annotations: dict[str, JsonValue] = {"dirty": source.dirty}
    if source.time is not None:
        annotations[COMMITTED] = time_text(source.time)
    return ResourceDescriptor(
        name=name,
        uri=f"git+{source.remote}" if source.remote else "",
        digest={"gitCommit": source.commit} if source.commit else {},
        annotations=annotations,
    )


def _files_of_user(plans: Sequence[BuildPlan], source: Source) -> Iterator[ResourceDescriptor]:
    """Yield the files and folders that steps read, each once, under the names of their mounts."""
    seen: set[str] = set()
    for plan in plans:
        mounts = {mount.root: mount.source for mount in plan.mounts}
        packages = {one.root for one in plan.packages}
        for item_read in (item for planned in plan.steps for item in _sources(planned.step)):
            root = item_read.ref.root
            if root in seen:
                continue
            seen.add(root)
            # The digest of packages is that of their lock, whether their wheels are here or not.
            folder = root not in packages and mounts[root].is_dir()
            annotations: dict[str, JsonValue] = {}
            if "@" not in root:
                annotations["path"] = _path(mounts[root], source)
            yield ResourceDescriptor(
                name=root,
                digest={FOLDER if folder else "sha256": item_read.digest},
                annotations=annotations,
            )


def _sources(step: Step) -> Iterator[SourceInput]:
    yield from (item for item in step.inputs.values() if isinstance(item, SourceInput))
    if step.data is not None:
        yield from step.data.sources()
    if step.code is not None:
        yield step.code


def _path(path: Path, source: Source) -> str:
    """Return ``path`` relative to the repository; only the name if it is outside."""
    resolved, root = path.resolve(), source.root.resolve()
    return resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else path.name
