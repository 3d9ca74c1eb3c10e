"""``report.json`` of a release: the part of a build's report that every rebuild reproduces.

Times, memory, the runtime and the machine are in the provenance instead. Measured figures are
rounded, because arithmetic differs in the last digits between CPUs: a figure with a limit to a
thousandth of that limit, and all of them to three significant digits and four decimals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, JsonValue

from pipeline.contract.file_digest import FileDigest
from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind, StepKind
from pipeline.contract.plan import Step
from pipeline.contract.result import Status
from pipeline.verdicts.overall import overall
from targets.build import BuildOutcome
from targets.config.load import LoadedConfig
from targets.planner.build_plan import BuildPlan
from targets.report.compose_report import figures_of, verdicts_of
from targets.report.report_schema import CheckedReport, CheckVerdict, InputsReport

_SIGNIFICANT_DIGITS = 3
_DECIMALS = 4
"""Smaller differences are rounding errors, which depend on the CPU."""

_ROWS = "wrong"
"""Wrong answers, with rows of the data, which whoever gets a release need not have."""

T = TypeVar("T")


@dataclass(frozen=True)
class Plans:
    """The plan of a build, and the part of it whose results are the same in every run."""

    whole: BuildPlan
    repeatable: BuildPlan
    """Without the checks of times and memory, and the steps that only those need."""

    @property
    def timed(self) -> tuple[Step, ...]:
        """Return the checks of times and memory."""
        repeatable = {planned.step.name for planned in self.repeatable.steps}
        steps = (planned.step for planned in self.whole.steps)
        return tuple(step for step in steps if step.kind == "check" and step.name not in repeatable)


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
    """One step of the chain. Its key is a digest of everything that its result depends on."""

    name: str
    kind: StepKind
    type: str
    key: str


class ReleasedToolchain(Frozen):
    """The toolchain, without the runtime that it ran in."""

    digest: str
    lock: str
    """SHA-256 of the lock."""
    platform: str
    python: str
    versions: dict[str, str]
    """Library versions as seen by the process that made the artifact."""


class TimedCheck(Frozen):
    """A check of time or memory and its parameters. Its figures are in the provenance."""

    name: str
    params: dict[str, JsonValue]
    unverified: str = ""
    """Why it was not run on the target's device; empty if it passed there."""


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
    checks: tuple[CheckVerdict, ...]
    timed: tuple[TimedCheck, ...]
    quality: dict[str, JsonValue] = Field(default_factory=dict)
    figures: dict[str, JsonValue] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    checked: CheckedReport | None = None
    """Where the checks were run, if that was not during the build."""
    files: tuple[FileDigest, ...]
    """The files of ``model/``."""

    @property
    def size_bytes(self) -> int:
        """Return the size of the artifact."""
        return sum(file.bytes for file in self.files)

    @property
    def unverified(self) -> tuple[str, ...]:
        """Return the names of all unverified checks, each with its reason."""
        open_checks = {
            f"{check.name}: {check.detail}" for check in self.checks if _is_unverified(check)
        }
        timed = {f"{check.name}: {check.unverified}" for check in self.timed if check.unverified}
        return tuple(sorted(open_checks | timed))


def released_report(
    outcome: BuildOutcome,
    plans: Plans,
    version: str,
    toolchain: ReleasedToolchain,
    absence: str,
) -> ReleasedReport:
    """Return the report for a release of ``outcome``.

    ``absence`` says why the target's device is not on this machine; empty if it is.
    """
    report = outcome.report
    steps = [planned.step for planned in plans.repeatable.steps]
    repeated = [outcome.results[step.name] for step in steps if step.kind == "check"]
    known = {(verdict.check, verdict.name) for verdict in verdicts_of(repeated)}
    checks = tuple(_rounded_verdict(one) for one in report.checks if (one.check, one.name) in known)
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
        inputs=_without_model_path(report.inputs),
        toolchain=toolchain,
        steps=tuple(
            ReleasedStep(name=step.name, kind=step.kind, type=step.type, key=step.key)
            for step in steps
        ),
        checks=checks,
        timed=timed,
        quality=rounded({name: one for name, one in report.quality.items() if name != _ROWS}),
        figures=rounded({name: item for name, item in figures_of(repeated).items() if item}),
        notes=report.notes,
        checked=report.checked,
        files=report.files,
    )


def rounded(value: T) -> T:
    """Return the JSON ``value`` with every float in it rounded."""
    if isinstance(value, float):
        return _round(value)  # type: ignore[return-value]
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}  # type: ignore[return-value]
    if isinstance(value, list):
        return [rounded(item) for item in value]  # type: ignore[return-value]
    return value


def _rounded_verdict(verdict: CheckVerdict) -> CheckVerdict:
    value = verdict.value
    if value is None:
        return verdict
    step = abs(verdict.limit or 0) / 1000
    to_step = round(value / step) * step if step else value
    return verdict.model_copy(update={"value": _round(to_step), "limit": rounded(verdict.limit)})


def _round(value: float) -> float:
    return (
        float(f"{round(value, _DECIMALS):.{_SIGNIFICANT_DIGITS}g}")
        if math.isfinite(value)
        else value
    )


def _is_unverified(check: CheckVerdict) -> bool:
    return check.status == "unverified"


def _without_model_path(inputs: InputsReport) -> InputsReport:
    """Return ``inputs`` with only the name of a local model's folder, instead of its path."""
    if ":" in inputs.model or "/" not in inputs.model:
        return inputs
    return inputs.model_copy(update={"model": Path(inputs.model).name})
