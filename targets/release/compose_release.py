"""Writes all files of a release, except its provenance, from finished builds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipeline.contract.plan import DataInput, SourceInput
from pipeline.contract.schema import HUB_PREFIX
from pipeline.contract.sha256 import sha256_of_bytes, sha256_of_file
from targets.build import BuildOutcome
from targets.cache import Cache
from targets.config.load import LoadedConfig
from targets.device_checks.checked_result import FILE as CHECKED_FILE
from targets.place import Place
from targets.release import layout
from targets.release.archive import write_archive
from targets.release.card import MadeFrom, model_card
from targets.release.hub import TASK
from targets.release.inputs import (
    COMMITTED,
    CONFIG,
    FOLDER,
    RUNTIME,
    SOURCE,
    files_digest,
    trains,
)
from targets.release.released_report import (
    Plans,
    ReleasedReport,
    ReleasedToolchain,
    released_report,
)
from targets.release.sbom.contents import (
    Artifact,
    DataSet,
    Metric,
    Model,
    ModelFacts,
    PythonPackage,
    Release,
    ToolchainContents,
)
from targets.release.sbom.write_sbom import write_sbom
from targets.release.statement import ResourceDescriptor
from targets.release.sums import write_sums
from targets.release.trained import trained_files
from targets.report.dist import MODEL_DIR
from targets.target import Target, load_target
from targets.use.asking import asking
from targets.use.program import Program, program_for
from targets.use.wheels import plugin, preloads, run_pins
from targets.use.write_use import PLACE, USE_DIR, foundry_file, use_files
from targets.version import quern_version

_QUANTIZES = "model_builder"
_QUANTIZATION = ("precision", "algorithm", "block_size", "symmetric")
"""Parameters of that pass which say how the weights are stored."""
_BASE_FOLDERS = ("model", "import_onnx.folder")
_BASE_FILE = "import_gguf.file"
"""Names of inputs of the release that are the base model."""


@dataclass(frozen=True)
class BuiltTarget:
    """One built target of a release."""

    place: Place
    outcome: BuildOutcome
    plans: Plans

    @property
    def name(self) -> str:
        """Return the target's name."""
        return self.place.toolchain.target


@dataclass(frozen=True)
class ReleaseContents:
    """Everything from which a release is composed."""

    loaded: LoadedConfig
    version: str
    built: tuple[BuiltTarget, ...]
    inputs: tuple[ResourceDescriptor, ...]
    """The inputs of all builds."""
    toolchains: Mapping[str, ToolchainContents]
    """Toolchains per target, including the host target's."""

    @property
    def build(self) -> str:
        """Return the name of the build."""
        return self.loaded.config.name

    @property
    def outcomes(self) -> tuple[BuildOutcome, ...]:
        """Return the finished builds."""
        return tuple(built.outcome for built in self.built)


@dataclass(frozen=True)
class ComposedFiles:
    """The files that were written."""

    reports: tuple[ReleasedReport, ...]
    archives: tuple[Path, ...]


def compose(folder: Path, contents: ReleaseContents, cache: Cache) -> ComposedFiles:
    """Write archives, SBOM and ``SHA256SUMS`` into ``folder``."""
    reports = tuple(_report(contents, built) for built in contents.built)
    archives = [
        _archive(folder, contents, built.name, _target_files(contents, built, report))
        for built, report in zip(contents.built, reports, strict=True)
    ]
    trained = trained_files(contents.outcomes, cache)
    if trained:
        archives.append(_archive(folder, contents, layout.ADAPTER, trained))
    sbom = folder / layout.SBOM
    sbom.write_bytes(write_sbom(_sbom(contents, reports, archives)))
    digests = {file.name: sha256_of_file(file) for file in (*archives, sbom)}
    (folder / layout.SUMS).write_bytes(write_sums(digests))
    return ComposedFiles(reports, tuple(archives))


def _archive(
    folder: Path, contents: ReleaseContents, part: str, files: Mapping[str, Path | bytes]
) -> Path:
    """Write the archive of one part with the digests of its files."""
    path = folder / layout.archive_name(contents.build, contents.version, part)
    root = layout.stem(contents.build, contents.version, part)
    digests = {name: _digest(content) for name, content in files.items()}
    members = {**files, layout.SUMS: write_sums(digests)}
    write_archive(path, {f"{root}/{name}": content for name, content in members.items()})
    return path


def _digest(content: Path | bytes) -> str:
    return sha256_of_bytes(content) if isinstance(content, bytes) else sha256_of_file(content)


def _report(contents: ReleaseContents, built: BuiltTarget) -> ReleasedReport:
    toolchain = built.place.toolchain
    versions = {
        name: version
        for name, version in built.outcome.report.toolchain.versions.items()
        if name != "python"  # the last digit depends on the runtime
    }
    return released_report(
        built.outcome,
        built.plans,
        contents.version,
        ReleasedToolchain(
            digest=toolchain.digest,
            lock=sha256_of_file(toolchain.lock),
            platform=toolchain.platform,
            python=toolchain.python,
            versions=versions,
        ),
        built.place.device.absence,
    )


def _target_files(
    contents: ReleaseContents, built: BuiltTarget, report: ReleasedReport
) -> dict[str, Path | bytes]:
    folder = built.outcome.folder
    model = folder / MODEL_DIR
    target = load_target(built.name)
    program = _program(contents, report, model, target)
    card = model_card(
        report,
        contents.loaded.config.card,
        target,
        list(_made_from(contents)),
        None if program is None else asking(program, model),
        layout.stem(contents.build, contents.version, built.name),
    )
    files: dict[str, Path | bytes] = {
        f"{layout.MODEL}/{file.path}": model / file.path for file in report.files
    }
    if program is not None:
        use = use_files(program, target) | foundry_file(built.outcome.report)
        files |= {f"{USE_DIR}/{name}": content for name, content in use.items()}
    files[layout.REPORT] = (report.model_dump_json(indent=2) + "\n").encode()
    files[layout.CARD] = card
    if report.checked is not None:
        files[CHECKED_FILE] = folder / CHECKED_FILE
    return files


def _program(
    contents: ReleaseContents, report: ReleasedReport, model: Path, target: Target
) -> Program | None:
    """Return what asks an ONNX model; ``None`` for other artifacts."""
    if report.artifact != "onnx":
        return None
    loaded = contents.loaded
    spec = None if loaded.main_data is None else loaded.config.data[loaded.main_data]
    return program_for(spec, model, report.quality, PLACE, preloads(target), plugin(target))


def _made_from(contents: ReleaseContents) -> Iterator[MadeFrom]:
    for source in contents.inputs:
        if source.name.startswith(RUNTIME):
            continue
        for kind, digest in source.digest.items():
            words = "commit" if kind == "gitCommit" else kind
            changed = (
                ", with changes that are in no commit" if source.annotations.get("dirty") else ""
            )
            if source.name != CONFIG:
                yield MadeFrom(source.name, f"{words} {digest}{changed}")
        if source.name == SOURCE and not source.digest:
            yield MadeFrom(source.name, "in no commit")


def _sbom(
    contents: ReleaseContents, reports: Sequence[ReleasedReport], archives: Sequence[Path]
) -> Release:
    by_name = {archive.name: archive for archive in archives}
    adapter = by_name.get(layout.archive_name(contents.build, contents.version, layout.ADAPTER))
    card = contents.loaded.config.card
    supplier = ", ".join(card.authors)
    artifacts = []
    for built, report in zip(contents.built, reports, strict=True):
        archive = by_name[layout.archive_name(contents.build, contents.version, built.name)]
        used = dict.fromkeys(planned.step.target for planned in built.plans.repeatable.steps)
        artifacts.append(
            Artifact(
                model=Model(
                    name=f"{contents.build}-{built.name}",
                    version=contents.version,
                    sha256=sha256_of_file(archive),
                    licence=card.license or "",
                    supplier=supplier,
                    facts=(
                        ("target", built.name),
                        ("file", archive.name),
                        ("status", report.status),
                    ),
                ),
                facts=_facts(contents, built, report),
                toolchains=tuple(contents.toolchains[name] for name in used),
                base=_base(contents, built.outcome),
                adapter=None
                if adapter is None
                else Model(
                    name=f"{contents.build}-{layout.ADAPTER}",
                    version=contents.version,
                    sha256=sha256_of_file(adapter),
                    supplier=supplier,
                    facts=(("file", adapter.name),),
                ),
                data=tuple(_data_sets(contents, built.outcome)),
                runs_on=tuple(_runs_on(contents, built, report)),
            )
        )
    return Release(
        contents.build,
        contents.version,
        quern_version(),
        tuple(artifacts),
        supplier=supplier,
        time=_committed(contents),
    )


def _committed(contents: ReleaseContents) -> datetime | None:
    """Return the time of the commit of the config: the same in every rebuild."""
    (source,) = (item for item in contents.inputs if item.name == SOURCE)
    stated = source.annotations.get(COMMITTED)
    return None if stated is None else datetime.fromisoformat(str(stated).replace("Z", "+00:00"))


def _facts(contents: ReleaseContents, built: BuiltTarget, report: ReleasedReport) -> ModelFacts:
    card = contents.loaded.config.card
    quality = report.quality
    builders = (
        planned.step.params
        for planned in built.plans.repeatable.steps
        if planned.step.type == _QUANTIZES
    )
    params = next(builders, {})
    return ModelFacts(
        task=TASK,
        metrics=tuple(
            Metric(str(quality["metric"]), value, of)
            for of in ("base", "tuned", "artifact")
            if isinstance(value := quality.get(of), float)
        ),
        quantization=tuple(
            (name, str(params[name]))
            for name in _QUANTIZATION
            if params.get(name) not in (None, "")
        ),
        intended_use=card.intended_use or "",
        limitations=card.limitations or "",
    )


def _runs_on(
    contents: ReleaseContents, built: BuiltTarget, report: ReleasedReport
) -> Iterator[PythonPackage]:
    """Yield the wheels of ``requirements.txt``, described by the toolchain if it has them."""
    if report.artifact != "onnx":
        return
    known = {
        wheel.sha256: wheel
        for toolchain in contents.toolchains.values()
        for wheel in toolchain.wheels
    }
    for pin in run_pins(load_target(built.name)):
        described = next((known[digest] for digest in pin.sha256 if digest in known), None)
        digest = next(iter(pin.sha256)) if len(pin.sha256) == 1 else ""
        yield described or PythonPackage(
            pin.name, str(pin.version), "", digest, index=pin.pytorch_index or ""
        )


def _base(contents: ReleaseContents, outcome: BuildOutcome) -> Model:
    model = contents.loaded.config.model
    licence = contents.loaded.config.card.model_license or ""
    if model.source is not None and model.source.startswith(HUB_PREFIX):
        name, _, revision = model.source.removeprefix(HUB_PREFIX).partition("@")
        return Model(name, version=revision, licence=licence, hub=True)
    for planned in outcome.plan.steps:
        if trains(planned.step) and not planned.step.data:
            digest = files_digest(outcome.results[planned.step.name].files)
            facts = (("made-by", planned.step.type),)
            return Model(f"{contents.build}-base", digest=digest, licence=licence, facts=facts)
    name = outcome.report.inputs.model.rpartition("/")[2]
    for item in contents.inputs:
        if item.name == _BASE_FILE:
            return Model(name, sha256=item.digest["sha256"], licence=licence)
        if item.name in _BASE_FOLDERS:
            return Model(name, digest=item.digest[FOLDER], licence=licence)
    return Model(name, licence=licence)


def _data_sets(contents: ReleaseContents, outcome: BuildOutcome) -> Iterator[DataSet]:
    seen: set[str] = set()
    licence = contents.loaded.config.card.data_license or ""
    for data in _all_data(outcome):
        if data.name in seen:
            continue
        seen.add(data.name)
        one = len(data.rows) == 1 and isinstance(data.rows[0], SourceInput)
        yield DataSet(
            data.name,
            sha256=data.digest if one else "",
            digest="" if one else data.digest,
            licence=licence,
        )


def _all_data(outcome: BuildOutcome) -> Iterable[DataInput]:
    for planned in outcome.plan.steps:
        if planned.step.data is not None:
            yield from planned.step.data.all()
