"""Reads a release and checks everything that can be checked without a rebuild. Writes nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from securesystemslib.dsse import Envelope

from pipeline.contract.sha256 import sha256_of_file
from pipeline.reading.files import MB
from targets.errors import CheckFailed, ConfigError, Problem
from targets.release import layout
from targets.release.archive import read_file, read_members
from targets.release.rebuilt import Rebuilt, read_rebuilt
from targets.release.released_report import ReleasedReport
from targets.release.sbom.validate import sbom_problems
from targets.release.statement import (
    ExternalParameters,
    InternalParameters,
    ResourceDescriptor,
    Statement,
    parse_statement,
)
from targets.release.sums import read_sums
from targets.release.trained import INDEX
from targets.signatures.envelope import read_envelope
from targets.signatures.signing import Trusted, require_signature

_LARGEST = 64 * MB
"""Most bytes of provenance, list of digests, or SBOM."""


@dataclass(frozen=True)
class ReadRelease:
    """A release whose files match its provenance."""

    folder: Path
    statement: Statement
    envelope: Envelope
    reports: tuple[ReleasedReport, ...]
    rebuilt: tuple[Rebuilt, ...] = ()
    """What others say who made it again."""

    @property
    def external_parameters(self) -> ExternalParameters:
        """Return the parameters that the user set."""
        return self.statement.predicate.build_definition.external_parameters

    @property
    def internal_parameters(self) -> InternalParameters:
        """Return the parameters that depended on the machine."""
        return self.statement.predicate.build_definition.internal_parameters

    @property
    def inputs(self) -> tuple[ResourceDescriptor, ...]:
        """Return its inputs."""
        return self.statement.predicate.build_definition.resolved_dependencies

    @property
    def build(self) -> str:
        """Return the name of the build."""
        return self.external_parameters.build

    @property
    def version(self) -> str:
        """Return its version."""
        return self.external_parameters.version

    @property
    def signed(self) -> bool:
        """Return whether it is signed."""
        return bool(self.envelope.signatures)

    def file(self, name: str) -> Path:
        """Return the path of one of its files."""
        return self.folder / name


def read_release(folder: Path, trusted: Trusted | None = None) -> ReadRelease:
    """Return the release in ``folder``, which must be signed by ``trusted`` if that is given.

    Raises ``ConfigError`` if there is none or a newer Quern made it, and ``CheckFailed`` with all
    of its problems.
    """
    file = folder / layout.PROVENANCE
    _fail([*_other_than_files(folder), *_too_large(folder)])
    try:
        content = file.read_bytes()
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
        advice = "give the folder that `nox -s release` made, as dist/tone/release/1.2.0"
        raise ConfigError([Problem(problem, file, suggestion=advice)]) from None
    envelope = read_envelope(content, file)
    if trusted is not None:
        require_signature(envelope, trusted, file)
    statement = parse_statement(envelope.payload, file)
    problems = [*_file_problems(folder, statement, signed=trusted is not None)]
    _fail(problems)
    reports = tuple(_reports(folder, statement))
    problems += _sbom_problems(folder, statement)
    _fail(problems)
    rebuilt = read_rebuilt(folder, statement)
    return ReadRelease(folder, statement, envelope, reports, rebuilt)


def _fail(problems: list[str]) -> None:
    if problems:
        raise CheckFailed(
            "\n".join(problems),
            "copy the release again; if it is no accident, trust nothing of it",
        )


def _other_than_files(folder: Path) -> Iterator[str]:
    """Yield a problem for each entry that is no plain file: a link, a folder, a pipe."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return  # said where its first file is read
    for entry in entries:
        if not entry.is_file(follow_symlinks=False):
            kind = "a link" if entry.is_symlink() else "a folder" if entry.is_dir() else "no file"
            yield f"{entry.path} is {kind}: a release has files alone"


def _too_large(folder: Path) -> Iterator[str]:
    """Yield a problem for each file that is read whole, and has more bytes than it can need."""
    for file in (folder / name for name in (layout.PROVENANCE, layout.SUMS, layout.SBOM)):
        size = file.stat().st_size if file.is_file() else 0
        if size > _LARGEST:
            yield f"{file} has {size:,} bytes; at most {_LARGEST:,} are read"


def _file_problems(folder: Path, statement: Statement, signed: bool) -> Iterator[str]:
    """Yield a problem for each file that does not match the provenance and ``SHA256SUMS``.

    ``signed`` says that the provenance has the signature that was asked for. It may have got
    another one since, and then is not the file that ``SHA256SUMS`` lists.
    """
    stated = {item.name: item.digest.get("sha256", "") for item in statement.subject}
    products = statement.predicate.run_details.byproducts
    stated |= {item.name: item.digest.get("sha256", "") for item in products if item.digest}
    actual = {path.name: sha256_of_file(path) for path in folder.iterdir()}
    own = {layout.PROVENANCE, layout.SUMS}
    for name in sorted(actual.keys() - stated.keys() - own - {layout.REBUILT}):
        yield f"{folder / name} belongs to no release"
    for name in sorted((stated.keys() | own) - actual.keys()):
        yield f"{folder / name} is missing"
    for name in sorted(stated.keys() & actual.keys()):
        if actual[name] != stated[name]:
            yield f"{folder / name} is not the file that {layout.PROVENANCE} is about"
    if layout.SUMS not in actual:
        return
    listed = read_sums((folder / layout.SUMS).read_bytes(), str(folder / layout.SUMS))
    for name in sorted(listed.keys() ^ {*stated, layout.PROVENANCE}):
        yield f"{folder / layout.SUMS}: {name} is listed by one of it and the provenance only"
    for name in sorted(listed.keys() & actual.keys()):
        if listed[name] != actual[name] and not (signed and name == layout.PROVENANCE):
            also = ", or was signed again: verify it with the key" * (name == layout.PROVENANCE)
            yield f"{folder / name} is not the file that {layout.SUMS} lists{also}"


def _reports(folder: Path, statement: Statement) -> Iterator[ReleasedReport]:
    """Yield the report in each target's archive. Raises ``CheckFailed`` for damaged archives."""
    parameters = statement.predicate.build_definition.external_parameters
    build, version = parameters.build, parameters.version
    parts = (*parameters.targets, layout.ADAPTER)
    known = {layout.archive_name(build, version, part): part for part in parts}
    for subject in statement.subject:
        path = folder / subject.name
        part = known.get(subject.name)
        if part is None:
            raise CheckFailed(f"{path} is not an archive of {build} {version}")
        root = layout.stem(build, version, part)
        _require_whole(path, root)
        if part == layout.ADAPTER:
            read_file(path, f"{root}/{INDEX}")
            continue
        report = _report(path, read_file(path, f"{root}/{layout.REPORT}"))
        if (report.build, report.version, report.target) != (build, version, part):
            raise CheckFailed(
                f"{path} holds {report.build} {report.version} for {report.target}, "
                f"not {build} {version} for {part}"
            )
        _require_model(path, root, report)
        yield report


def _require_whole(path: Path, root: str) -> None:
    """Raise ``CheckFailed`` unless the files of an archive match its own ``SHA256SUMS``."""
    members = {member.path: member.sha256 for member in read_members(path)}
    outside = sorted(name for name in members if not name.startswith(f"{root}/"))
    if outside:
        raise CheckFailed(f"{path}: {outside[0]} is not in the folder {root}")
    listed = read_sums(read_file(path, f"{root}/{layout.SUMS}"), f"{path}: {layout.SUMS}")
    expected = {f"{root}/{name}": digest for name, digest in listed.items()}
    actual = {name: sha for name, sha in members.items() if name != f"{root}/{layout.SUMS}"}
    for name in sorted(expected.keys() | actual.keys()):
        if expected.get(name) != actual.get(name):
            raise CheckFailed(f"{path}: {name} is not as its {layout.SUMS} has it")


def _report(path: Path, content: bytes) -> ReleasedReport:
    try:
        return ReleasedReport.model_validate_json(content)
    except ValidationError as error:
        mistake = error.errors()[0]
        key = ".".join(map(str, mistake["loc"]))
        raise CheckFailed(f"{path}: {layout.REPORT}: {key}: {mistake['msg']}") from None


def _require_model(path: Path, root: str, report: ReleasedReport) -> None:
    prefix = f"{root}/{layout.MODEL}/"
    actual = {
        member.path.removeprefix(prefix): member.sha256
        for member in read_members(path)
        if member.path.startswith(prefix)
    }
    if actual != {file.path: file.sha256 for file in report.files}:
        raise CheckFailed(f"{path}: the model is not the one that its {layout.REPORT} is about")


def _sbom_problems(folder: Path, statement: Statement) -> Iterator[str]:
    file = folder / layout.SBOM
    content = file.read_bytes()
    problems = sbom_problems(content)
    yield from (f"{file}: {problem}" for problem in problems)
    if problems:
        return
    named = {
        digest["content"]
        for component in json.loads(content).get("components", [])
        for digest in component.get("hashes", [])
    }
    for subject in statement.subject:
        if subject.digest.get("sha256") not in named:
            yield f"{file}: does not list {subject.name}"
