"""Composes the report of a build from its plan and results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import JsonValue

from pipeline.contract.result import StepResult
from pipeline.contract.schema import BuildConfig
from pipeline.contract.sha256 import sha256_of_file
from pipeline.verdicts.overall import overall
from targets.cache import runtime_of
from targets.config.load import LoadedConfig
from targets.planner.build_plan import BuildPlan, PlannedStep
from targets.report.report_schema import (
    CheckVerdict,
    InputsReport,
    PassReport,
    Report,
    ToolchainReport,
)
from targets.version import quern_version


def compose(loaded: LoadedConfig, plan: BuildPlan, results: Mapping[str, StepResult]) -> Report:
    """Return the report of ``plan``, with a result for each of its steps."""
    checks = [results[planned.step.name] for planned in plan.steps if planned.step.kind == "check"]
    verdicts = verdicts_of(checks)
    artifact = results[plan.artifact]
    return Report(
        build=plan.build,
        target=plan.target,
        artifact=plan.artifact_kind,
        status=overall(verdict.status for verdict in verdicts),
        quern=quern_version(),
        inputs=_inputs(loaded, plan),
        toolchain=ToolchainReport(
            digest=plan[plan.artifact].step.toolchain,
            runtime=runtime_of(artifact),
            base_image=artifact.origin.get("base_image", ""),
            image=artifact.origin.get("image", ""),
            python=artifact.origin.get("python", ""),
            versions=artifact.versions,
        ),
        passes=tuple(
            _pass(planned, results[planned.step.name], _given(loaded.config, plan, planned))
            for planned in plan.steps
        ),
        checks=verdicts,
        latency=evidence(checks, "latency"),
        quality=evidence(checks, "quality"),
        figures=figures_of(checks),
        files=artifact.files,
        notes=plan.notes,
    )


def _given(config: BuildConfig, plan: BuildPlan, planned: PlannedStep) -> tuple[str, ...]:
    """Return the keys of a check that ``config`` sets."""
    if planned.step.kind != "check":
        return ()
    name, ours = planned.step.name, config.targets.get(plan.target)
    table = config.checks.get(name)
    return tuple(
        dict.fromkeys(
            [*(table.params if table else ()), *(ours.checks.get(name, {}) if ours else ())]
        )
    )


def _pass(planned: PlannedStep, result: StepResult, given: tuple[str, ...]) -> PassReport:
    return PassReport(
        name=planned.step.name,
        kind=planned.step.kind,
        type=planned.step.type,
        key=planned.step.key,
        cached=planned.cached is not None,
        reason=planned.reason,
        seconds=result.seconds,
        peak_rss_bytes=result.peak_rss_bytes,
        bytes=sum(file.bytes for file in result.files),
        runtime=runtime_of(result),
        system=result.origin.get("system", ""),
        unconfined=result.origin.get("unconfined", ""),
        params=dict(planned.step.params),
        given=given,
        metrics=result.metrics,
    )


def evidence(checks: Iterable[StepResult], name: str) -> dict[str, JsonValue]:
    """Return the table ``name`` in the evidence of the checks; empty if there is none."""
    table = next((result.evidence[name] for result in checks if name in result.evidence), {})
    return table if isinstance(table, dict) else {}


def verdicts_of(checks: Iterable[StepResult]) -> tuple[CheckVerdict, ...]:
    """Return all verdicts. Those of a check with a name other than its type have it as a prefix."""
    return tuple(
        CheckVerdict(**{**dict(verdict), "name": prefix + verdict.name, "check": result.name})
        for result in checks
        for prefix in ("" if result.name == result.type else f"{result.name}.",)
        for verdict in result.verdicts
    )


def figures_of(checks: Iterable[StepResult]) -> dict[str, JsonValue]:
    """Return the figures of all checks except ``latency`` and ``quality``, by name of the check."""
    by_check = {result.name: result.evidence.get("figures") for result in checks}
    return {name: figures for name, figures in by_check.items() if figures is not None}


def _inputs(loaded: LoadedConfig, plan: BuildPlan) -> InputsReport:
    model = loaded.config.model
    data = next((planned.step.data for planned in plan.steps if planned.step.data), None)
    return InputsReport(
        config=sha256_of_file(loaded.file),
        model=model.onnx or model.source or "made from text by the pretrain pass",
        data={data.name: data.digest} if data else {},
        seed=loaded.config.seed,
        trust_remote_code=model.trust_remote_code,
        weights=model.weights,
        arithmetic=loaded.config.resources.arithmetic,
    )
