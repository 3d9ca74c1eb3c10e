"""``report.json`` of a release: of a build's report, what every rebuild finds again.

Times, memory, the runtime and the machine are in the provenance instead. Measured figures are
rounded, since arithmetic differs in its last digits between CPUs: to three significant digits and
to :data:`_FINEST`, or to a thousandth of their limit where that is coarser.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, JsonValue

from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind
from pipeline.contract.plan import Step
from pipeline.contract.result import FileDigest, Status, Verdict
from targets.build import BuildOutcome
from targets.config.load import LoadedConfig
from targets.planner.build_plan import BuildPlan
from targets.report.compose import figures_of, verdicts_of
from targets.report.model import CheckedReport, InputsReport
from targets.report.status import overall

_DIGITS = 3
_FINEST = 4
"""Decimals: what is smaller is what rounding leaves, and that is up to each CPU."""

T = TypeVar("T")


@dataclass(frozen=True)
class Plans:
    """The plan of a build, and the part of it that finds the same in every run."""

    whole: BuildPlan
    repeatable: BuildPlan
    """Without checks of times and memory, and what only they need."""

    @property
    def timed(self) -> tuple[Step, ...]:
        """Return the checks of times and memory."""
        kept = {planned.step.name for planned in self.repeatable.steps}
        steps = (planned.step for planned in self.whole.steps)
        return tuple(step for step in steps if step.kind == "check" and step.name not in kept)


def repeatable_part(loaded: LoadedConfig) -> LoadedConfig:
    """Return ``loaded`` without the checks whose figures differ from run to run."""
    chains = {
        name: replace(
            chain,
            checks=tuple(call for call in chain.checks if call.implementation.repeatable),
        )
        for name, chain in loaded.chains.items()
    }
    return replace(loaded, chains=chains)


class ReleasedStep(Frozen):
    """One step of the chain. The key stands for all that decides its result."""

    name: str
    kind: Literal["pass", "check"]
    type: str
    key: str


class ReleasedToolchain(Frozen):
    """The toolchain, apart from how it was brought to life."""

    digest: str
    lock: str
    """SHA-256 of the lock."""
    platform: str
    python: str
    versions: dict[str, str]
    """Library versions as seen by the process that made the artifact."""


class TimedCheck(Frozen):
    """A check of time or memory: what it asks. What it found is in the provenance."""

    name: str
    params: dict[str, JsonValue]
    unverified: str = ""
    """Why it was not run where it counts; empty where it passed."""


class ReleasedReport(Frozen):
    """The report of one target of a release."""

    schema_version: Literal[1] = 1
    build: str
    version: str
    target: str
    artifact: Kind
    status: Status
    quern: str
    """Version of Quern."""
    inputs: InputsReport
    toolchain: ReleasedToolchain
    steps: tuple[ReleasedStep, ...]
    checks: tuple[Verdict, ...]
    timed: tuple[TimedCheck, ...]
    quality: dict[str, JsonValue] = Field(default_factory=dict)
    figures: dict[str, JsonValue] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    checked: CheckedReport | None = None
    """Where the checks were run apart from the build, if they were."""
    files: tuple[FileDigest, ...]
    """The files of ``model/``."""

    @property
    def size_bytes(self) -> int:
        """Return the size of the artifact."""
        return sum(file.bytes for file in self.files)

    @property
    def unverified(self) -> tuple[str, ...]:
        """Return what nobody has seen to hold, each with its reason."""
        found = {f"{check.name}: {check.detail}" for check in self.checks if _open(check)}
        timed = {f"{check.name}: {check.unverified}" for check in self.timed if check.unverified}
        return tuple(sorted(found | timed))


def released_report(
    outcome: BuildOutcome,
    plans: Plans,
    version: str,
    toolchain: ReleasedToolchain,
    absence: str,
) -> ReleasedReport:
    """Return what a release of ``outcome`` reports; ``absence`` says why its device is not here."""
    report = outcome.report
    steps = [planned.step for planned in plans.repeatable.steps]
    repeated = [outcome.results[step.name] for step in steps if step.kind == "check"]
    names = {verdict.name for verdict in verdicts_of(repeated)}
    checks = tuple(_rounded_verdict(found) for found in report.checks if found.name in names)
    unverified = "" if report.checked is not None else absence
    timed = tuple(
        TimedCheck(name=step.name, params=step.params, unverified=unverified)
        for step in plans.timed
    )
    statuses: list[Status] = [check.status for check in checks]
    if unverified and timed:
        statuses.append("unverified")
    return ReleasedReport(
        build=report.build,
        version=version,
        target=report.target,
        artifact=report.artifact,
        status=overall(statuses),
        quern=report.quern,
        inputs=_without_place(report.inputs),
        toolchain=toolchain,
        steps=tuple(
            ReleasedStep(name=step.name, kind=step.kind, type=step.type, key=step.key)
            for step in steps
        ),
        checks=checks,
        timed=timed,
        quality=rounded(report.quality),
        figures=rounded({name: item for name, item in figures_of(repeated).items() if item}),
        notes=report.notes,
        checked=report.checked,
        files=report.files,
    )


def rounded(value: T) -> T:
    """Return JSON ``value`` with every number rounded that is no integer."""
    if isinstance(value, float):
        return _round(value)  # type: ignore[return-value]
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}  # type: ignore[return-value]
    if isinstance(value, list):
        return [rounded(item) for item in value]  # type: ignore[return-value]
    return value


def _rounded_verdict(verdict: Verdict) -> Verdict:
    value = verdict.value
    if value is None:
        return verdict
    step = abs(verdict.limit or 0) / 1000
    coarse = round(value / step) * step if step else value
    return verdict.model_copy(update={"value": _round(coarse), "limit": rounded(verdict.limit)})


def _round(value: float) -> float:
    return float(f"{round(value, _FINEST):.{_DIGITS}g}") if math.isfinite(value) else value


def _open(check: Verdict) -> bool:
    return check.status == "unverified"


def _without_place(inputs: InputsReport) -> InputsReport:
    """Return ``inputs`` with the name of a local model in place of where it lies."""
    if ":" in inputs.model or "/" not in inputs.model:
        return inputs
    return inputs.model_copy(update={"model": Path(inputs.model).name})
