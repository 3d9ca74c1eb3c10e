"""``provenance.intoto.jsonl``: how a release was made, as a statement about its archives."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import JsonValue
from securesystemslib.dsse import Envelope

from pipeline.contract.result import StepResult
from pipeline.contract.sha256 import sha256_of_bytes, sha256_of_file
from targets.atomic import atomic_file
from targets.machine import cpu_name, system_name, usable_cores
from targets.release import layout
from targets.release.compose_release import BuiltTarget, ComposedFiles, ReleaseContents
from targets.release.inputs import CONFIG
from targets.release.statement import (
    BUILD_TYPE,
    BUILDER,
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    BuildDefinition,
    ExternalParameters,
    InternalParameters,
    Metadata,
    Predicate,
    ResourceDescriptor,
    RunDetails,
    Statement,
    StatementBuilder,
    StatementMachine,
    time_text,
)
from targets.release.sums import read_sums, write_sums
from targets.report.report_schema import Report
from targets.signatures.envelope import write_envelope
from targets.version import quern_version

MEASURED = "measured/"
"""Beginning of the names of byproducts that differ from run to run."""


@dataclass(frozen=True)
class ReleaseRequest:
    """The user's options apart from the config."""

    allow_unverified: bool = False
    allow_dirty: bool = False
    trained_elsewhere: str = ""
    """The training steps whose outputs were given; empty if all were run."""
    overrides: Mapping[str, str] = field(default_factory=dict)
    """Options of the command that replaced values of the config, without paths."""


@dataclass(frozen=True)
class BuildEnvironment:
    """Properties of the machine that affect the release."""

    runtime: Literal["docker", "venv"]
    host: str
    """The host target, which trains."""
    threads: int


@dataclass(frozen=True)
class BuildTimes:
    """When the release was made."""

    started: datetime
    finished: datetime


def statement(
    folder: Path,
    contents: ReleaseContents,
    written: ComposedFiles,
    request: ReleaseRequest,
    environment: BuildEnvironment,
    times: BuildTimes,
) -> Statement:
    """Return the statement about the archives in ``folder``."""
    config = next(item for item in contents.inputs if item.name == CONFIG)
    return Statement(
        _type=STATEMENT_TYPE,
        subject=tuple(_file(path) for path in written.archives),
        predicateType=PREDICATE_TYPE,
        predicate=Predicate(
            build_definition=BuildDefinition(
                build_type=BUILD_TYPE,
                external_parameters=ExternalParameters(
                    build=contents.build,
                    version=contents.version,
                    config=str(config.annotations["path"]),
                    targets=tuple(built.name for built in contents.built),
                    allow_unverified=request.allow_unverified,
                    allow_dirty=request.allow_dirty,
                    trained_elsewhere=request.trained_elsewhere,
                    overrides=dict(request.overrides),
                ),
                internal_parameters=InternalParameters(
                    runtime=environment.runtime,
                    host=environment.host,
                    python={
                        built.name: built.outcome.report.toolchain.python
                        for built in contents.built
                    },
                    threads=environment.threads,
                    absent_devices={
                        built.name: built.place.device.absence
                        for built in contents.built
                        if built.place.device.absence
                    },
                    unverified={
                        report.target: report.unverified
                        for report in written.reports
                        if report.unverified
                    },
                    machine=StatementMachine(
                        cpu=cpu_name(), cores=usable_cores(), system=system_name()
                    ),
                ),
                resolved_dependencies=contents.inputs,
            ),
            run_details=RunDetails(
                builder=StatementBuilder(id=BUILDER, version={"quern": quern_version()}),
                metadata=Metadata(
                    started_on=time_text(times.started), finished_on=time_text(times.finished)
                ),
                byproducts=(
                    _file(folder / layout.SBOM),
                    *(_measured(built) for built in contents.built),
                ),
            ),
        ),
    )


def write_provenance(folder: Path, envelope: Envelope) -> None:
    """Write ``envelope`` into ``folder``, and its digest into ``SHA256SUMS`` there."""
    content = write_envelope(envelope)
    sums = folder / layout.SUMS
    digests = read_sums(sums.read_bytes(), str(sums))
    listed = write_sums({**digests, layout.PROVENANCE: sha256_of_bytes(content)})
    for file, text in ((folder / layout.PROVENANCE, content), (sums, listed)):
        with atomic_file(file) as partial:
            partial.write_bytes(text)


def without_times(statement: Statement) -> dict[str, JsonValue]:
    """Return ``statement`` as JSON, without values that differ from run to run."""
    content = statement.model_dump(mode="json", by_alias=True)
    details = content["predicate"]["runDetails"]
    del details["metadata"]
    for product in details["byproducts"]:
        if product["name"].startswith(MEASURED):
            product["content"] = ""
    return dict(content)


def _file(path: Path) -> ResourceDescriptor:
    return ResourceDescriptor(name=path.name, digest={"sha256": sha256_of_file(path)})


def _measured(built: BuiltTarget) -> ResourceDescriptor:
    """Return the times and figures of one target, which differ in every rebuild."""
    report = built.outcome.report
    timed = {step.name for step in built.plans.timed}
    figures: dict[str, JsonValue] = {
        "checks": [
            verdict.model_dump(mode="json")
            for name in timed
            for verdict in built.outcome.results[name].verdicts
        ],
        "latency": _latency(report),
        "memory": report.figures.get("memory"),
        "steps": list(_steps(built.outcome.results.values())),
    }
    return ResourceDescriptor(
        name=f"{MEASURED}{built.name}",
        content=base64.b64encode(json.dumps(figures, sort_keys=True).encode()).decode(),
        media_type="application/json",
    )


def _latency(report: Report) -> dict[str, JsonValue]:
    """Return the statistics of latency; all samples are in the report of the build."""
    names = (
        "statistics",
        "load_ms",
        "prompt_tokens_per_second",
        "decode_tokens_per_second",
        "cpus",
    )
    return {name: report.latency[name] for name in names if name in report.latency}


def _steps(results: Iterable[StepResult]) -> Iterable[JsonValue]:
    for result in results:
        yield {
            "name": result.name,
            "seconds": result.seconds,
            "peakRssBytes": result.peak_rss_bytes,
            "origin": dict(result.origin),
        }
