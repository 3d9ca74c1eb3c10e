"""``rebuilt.intoto.jsonl``: what others say who made a release again, and got the same bytes.

Each line is a DSSE envelope like that of the release, with a provenance of its own about the same
archives, signed by who rebuilt them. rebuilderd (https://rebuilderd.com) does so for packages. It
is made after the release, so neither ``SHA256SUMS`` nor the first provenance names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from securesystemslib.dsse import Envelope
from securesystemslib.signer import Signer

from targets.atomic import atomic_file
from targets.errors import CheckFailed, ConfigError, Problem
from targets.machine import cpu_name, system_name, usable_cores
from targets.release import layout
from targets.release.inputs import RUNTIME
from targets.release.statement import (
    REBUILDER,
    Metadata,
    ResourceDescriptor,
    Statement,
    StatementMachine,
    parse_statement,
    time_text,
)
from targets.runtimes.runtime import RuntimeName
from targets.signatures.envelope import PAYLOAD_TYPE, read_envelope, write_envelope
from targets.signatures.signing import Trusted, is_signed_by, sign


@dataclass(frozen=True)
class Rebuilt:
    """What somebody says who made a release again."""

    envelope: Envelope
    statement: Statement

    @property
    def trained_elsewhere(self) -> bool:
        """Return whether they took from the release what was trained."""
        parameters = self.statement.predicate.build_definition.external_parameters
        return bool(parameters.trained_elsewhere)


def read_rebuilt(folder: Path, released: Statement) -> tuple[Rebuilt, ...]:
    """Return what is said of the release in ``folder``, whose provenance is ``released``.

    Raises ``CheckFailed`` for a line that is not about the same archives.
    """
    file = folder / layout.REBUILT
    if not file.exists():
        return ()
    return tuple(_read(line, released, file) for line in file.read_bytes().splitlines())


@dataclass(frozen=True)
class Surroundings:
    """Where a release was made again."""

    runtime: RuntimeName
    python: Mapping[str, str]
    """Version of the Python that ran the steps, per target."""
    inputs: tuple[ResourceDescriptor, ...]
    """What the runtime brought: base images."""


def rebuilt_statement(
    released: Statement,
    around: Surroundings,
    given: bool,
    started: datetime,
    finished: datetime,
) -> Statement:
    """Return the provenance of a rebuild that gave the same bytes as ``released``.

    ``given`` says that what was trained was taken from the release.
    """
    definition = released.predicate.build_definition
    external = definition.external_parameters
    internal = definition.internal_parameters
    trained = [item.name for item in definition.resolved_dependencies if "trained/" in item.name]
    elsewhere = external.trained_elsewhere or ", ".join(trained) if given else ""
    machine = StatementMachine(cpu=cpu_name(), cores=usable_cores(), system=system_name())
    same = (item for item in definition.resolved_dependencies if not item.name.startswith(RUNTIME))
    inputs = sorted([*same, *around.inputs], key=lambda item: item.name)
    details = released.predicate.run_details
    predicate = released.predicate.model_copy(
        update={
            "build_definition": definition.model_copy(
                update={
                    "external_parameters": external.model_copy(
                        update={"trained_elsewhere": elsewhere}
                    ),
                    "internal_parameters": internal.model_copy(
                        update={
                            "runtime": around.runtime,
                            "python": dict(around.python),
                            "machine": machine,
                        }
                    ),
                    "resolved_dependencies": tuple(inputs),
                }
            ),
            "run_details": details.model_copy(
                update={
                    "builder": details.builder.model_copy(update={"id": REBUILDER}),
                    "metadata": Metadata(
                        started_on=time_text(started), finished_on=time_text(finished)
                    ),
                    "byproducts": tuple(item for item in details.byproducts if item.digest),
                }
            ),
        }
    )
    return released.model_copy(update={"predicate": predicate})


def add_rebuilt(folder: Path, statement: Statement, signer: Signer) -> Envelope:
    """Sign ``statement`` and add it to what is said of the release in ``folder``."""
    envelope = Envelope(statement.to_json(), PAYLOAD_TYPE, {})
    sign(envelope, signer)
    file = folder / layout.REBUILT
    before = file.read_bytes() if file.exists() else b""
    with atomic_file(file) as partial:
        partial.write_bytes(before + write_envelope(envelope))
    return envelope


def require_rebuilt(
    rebuilt: tuple[Rebuilt, ...], releaser: Trusted | None, rebuilder: Trusted, folder: Path
) -> Rebuilt:
    """Return what ``rebuilder`` says, who must not be the ``releaser``.

    Raises ``ConfigError`` if it is not known who released it, and ``CheckFailed`` if ``rebuilder``
    says nothing of it, or released it.
    """
    if releaser is None:
        raise ConfigError(
            [
                Problem(
                    "says little unless it is known who released it",
                    key="--rebuilt-by",
                    suggestion="give the other one's --key, or --identity and --issuer",
                )
            ]
        )
    if releaser.key == rebuilder.key:
        raise CheckFailed(
            f"{folder}: {rebuilder.described} released it, which is no second build",
            "ask somebody else to rebuild it: `nox -s verify -- RELEASE_DIR --sign-key FILE`",
        )
    for one in rebuilt:
        if is_signed_by(one.envelope, rebuilder.key):
            return one
    raise CheckFailed(
        f"{folder}: {rebuilder.described} does not say that it was rebuilt",
        "without --rebuilt-by, verify rebuilds it here",
    )


def _read(line: bytes, released: Statement, file: Path) -> Rebuilt:
    envelope = read_envelope(line, file)
    statement = parse_statement(envelope.payload, file)
    if statement.predicate.run_details.builder.id != REBUILDER:
        raise CheckFailed(f"{file}: a line is no provenance of a rebuild")
    digests = [{item.name: item.digest for item in one.subject} for one in (statement, released)]
    if digests[0] != digests[1]:
        raise CheckFailed(
            f"{file}: a line is about other archives than {layout.PROVENANCE}",
            "take only what was made for this release",
        )
    return Rebuilt(envelope, statement)
