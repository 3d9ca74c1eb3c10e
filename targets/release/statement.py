"""The schema of a provenance: an in-toto Statement v1 with SLSA Provenance v1.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
https://slsa.dev/spec/v1.0/provenance
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import ConfigDict, Field, JsonValue, ValidationError
from pydantic.alias_generators import to_camel

from pipeline.contract.frozen import Frozen
from pipeline.contract.schema import Name
from pipeline.reading.files import decoded
from pipeline.reading.json_text import parse_json
from pipeline.reading.whole_numbers import whole_number
from targets.errors import CheckFailed, ConfigError, Problem

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"
SCHEMA = 4
"""Version of the schema; increased when another Quern could no longer make the same files."""
_OLDEST = 2
"""The oldest schema whose provenance can still be read."""

# A name space of URN has to be registered; that of UUIDs is, and needs no domain of anybody's.
_QUERN = "urn:uuid:5b0f6c1e-8f0a-4d57-9c36-2f1f2a6e7d14"
_BUILD_TYPE = f"{_QUERN}#release-v"
BUILD_TYPE = f"{_BUILD_TYPE}{SCHEMA}"
BUILDER = f"{_QUERN}#driver"
REBUILDER = f"{_QUERN}#rebuilder"
"""Who made a release again, to prove it."""


class _Camel(Frozen):
    """Base of models whose fields are written in camel case, as in in-toto and SLSA."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True)


class ResourceDescriptor(_Camel):
    """A file, a folder or a commit, with its digests; or what it holds.

    https://github.com/in-toto/attestation/blob/main/spec/v1/resource_descriptor.md: one of ``uri``,
    ``digest`` and ``content`` is there.
    """

    name: str = ""
    uri: str = ""
    digest: dict[str, str] = Field(default_factory=dict)
    content: str = ""
    """Bytes in base64."""
    media_type: str = ""
    annotations: dict[str, JsonValue] = Field(default_factory=dict)


class ExternalParameters(_Camel):
    """The parameters that the user set."""

    build: Name
    version: str
    config: str
    """Path of the config in its repository."""
    targets: tuple[Name, ...] = Field(min_length=1)
    allow_unverified: bool
    allow_dirty: bool
    trained_elsewhere: str
    """The training steps whose outputs were given; empty if all were run."""
    overrides: dict[str, str]
    """Options of the command that replaced values of the config, without paths."""


class StatementMachine(_Camel):
    """Properties of the machine, without its name."""

    cpu: str
    cores: int
    system: str


class InternalParameters(_Camel):
    """The parameters that depended on the machine and its state."""

    runtime: Literal["docker", "venv"]
    host: Name
    """The host target, which trains."""
    python: dict[str, str]
    """Version of the Python that ran the steps, per target."""
    threads: int = Field(ge=1)
    absent_devices: dict[str, str]
    """Why the device of a target was absent, per target."""
    unverified: dict[str, tuple[str, ...]]
    """Unverified checks, per target."""
    machine: StatementMachine


class BuildDefinition(_Camel):
    """The parameters and inputs of the build."""

    build_type: str
    external_parameters: ExternalParameters
    internal_parameters: InternalParameters
    resolved_dependencies: tuple[ResourceDescriptor, ...]
    """All inputs."""


class StatementBuilder(_Camel):
    """The builder: Quern and its version."""

    id: str
    version: dict[str, str]


class Metadata(_Camel):
    """Start and end of the build, in UTC, RFC 3339."""

    started_on: str
    finished_on: str


class RunDetails(_Camel):
    """The builder, the times, and further results of the build."""

    builder: StatementBuilder
    metadata: Metadata
    byproducts: tuple[ResourceDescriptor, ...] = ()


class Predicate(_Camel):
    """SLSA's provenance."""

    build_definition: BuildDefinition
    run_details: RunDetails


class Statement(Frozen):
    """An in-toto statement: the predicate is true of the subjects."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: tuple[ResourceDescriptor, ...] = Field(min_length=1)
    predicate_type: Literal["https://slsa.dev/provenance/v1"] = Field(alias="predicateType")
    predicate: Predicate

    def to_json(self) -> bytes:
        """Return it as one line of canonical JSON."""
        content = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def time_text(moment: datetime) -> str:
    """Return ``moment``, which is in UTC, as RFC 3339 has it."""
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def parse_statement(content: bytes, file: Path) -> Statement:
    """Return the statement in ``content``; ``file`` is only for messages.

    Raises ``ConfigError`` if a newer Quern made it, or one too old, and ``CheckFailed`` if it is
    not the provenance of a release.
    """
    try:
        statement = Statement.model_validate_json(content)
    except ValidationError as error:
        _require_known(_build_type(content), file)
        mistake = error.errors()[0]
        key = ".".join(map(str, mistake["loc"]))
        raise CheckFailed(f"{file}: {key}: {mistake['msg']}: no provenance of a release") from None
    _require_known(statement.predicate.build_definition.build_type, file)
    return statement


def require_same_schema(statement: Statement, file: Path) -> None:
    """Raise ``ConfigError`` if another Quern made the release, whose files a rebuild here would
    not be the same as."""
    number = _schema(statement.predicate.build_definition.build_type)
    if number == SCHEMA:
        return
    version = statement.predicate.run_details.builder.version.get("quern", "")
    inputs = statement.predicate.build_definition.resolved_dependencies
    by_name = {item.name: item.digest.get("gitCommit", "") for item in inputs}
    commit = by_name.get("quern", by_name.get("source", ""))
    made_by = f"Quern {version}{f' at commit {commit}' if commit else ''}"
    raise ConfigError(
        [
            Problem(
                f"was made by an older Quern (release schema {number}; this one makes {SCHEMA}), "
                "so a rebuild here would have other files",
                file,
                suggestion=f"use {made_by}; --quick and --rebuilt-by prove it here",
            )
        ]
    )


def _require_known(build_type: str, file: Path) -> None:
    number = _schema(build_type)
    if number is None:
        raise CheckFailed(f"{file}: '{build_type}' is not a build of Quern's")
    if not _OLDEST <= number <= SCHEMA:
        age, advice = ("newer", ", or a newer one") if number > SCHEMA else ("older", "")
        raise ConfigError(
            [
                Problem(
                    f"was made by a{'' if number > SCHEMA else 'n'} {age} Quern (release schema "
                    f"{number}; this one knows {_OLDEST} to {SCHEMA})",
                    file,
                    suggestion=f"use the Quern that made it{advice}",
                )
            ]
        )


def _schema(build_type: str) -> int | None:
    """Return the number of the schema that a build type names; ``None`` if it is not Quern's."""
    before, mark, rest = build_type.partition(_BUILD_TYPE)
    return whole_number(rest) if mark and not before else None


def _build_type(content: bytes) -> str:
    """Return the build type of a statement that does not match this schema."""
    try:
        return str(parse_json(decoded(content))["predicate"]["buildDefinition"]["buildType"])
    except (ValueError, LookupError, TypeError):
        return BUILD_TYPE  # any mistake means that its form is wrong
