"""Runs a bench of one build: measures every target, and compares with earlier results."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from targets.bench.baseline import EarlierArtifact, earlier_artifact, named_baselines
from targets.bench.bench_machine import describe_machine, with_final_load
from targets.bench.bench_schema import Bench, Comparison, Software, TargetBench
from targets.bench.collect import collect_target, collect_training, not_timed
from targets.bench.compare_benches import compare, compare_with_baseline
from targets.bench.measure import Baseline, BenchWorkload, measure
from targets.bench.significance import SMALLEST_RATIO
from targets.build import BuildOutcome
from targets.cache import Cache
from targets.place import Place
from targets.runtimes.runtime import StartRuntime
from targets.version import quern_version
from targets.view import View

LIBRARIES = ("matplotlib", "scipy")
"""Libraries that only the ``bench`` command needs."""


@dataclass(frozen=True)
class Earlier:
    """An earlier bench, and its name for the user."""

    name: str
    bench: Bench


@dataclass(frozen=True)
class BenchRequest:
    """The user's options for a bench."""

    workload: BenchWorkload = field(default_factory=BenchWorkload)
    baseline: Path | None = None
    earlier: Earlier | None = None
    smallest_ratio: float = SMALLEST_RATIO


def run_bench(
    config: str,
    built: Sequence[tuple[Place, BuildOutcome]],
    request: BenchRequest,
    start_runtime: StartRuntime,
    cache: Cache,
    view: View,
) -> Bench:
    """Return the bench of the targets of one build; those whose device is present are timed.

    Raises ``ConfigError`` before any timing if the baseline is no artifact.
    """
    reports = [outcome.report for _, outcome in built]
    named = _named_baselines(request, built, cache)
    earlier = {
        outcome.report.target: earlier_artifact(
            old, outcome.folder, named.get(outcome.report.target), cache
        )
        for place, outcome in built
        if place.device.here and (old := _earlier_target(request, outcome)) is not None
    }
    machine = describe_machine()
    targets = []
    for place, outcome in built:
        report = outcome.report
        baseline = named.get(report.target)
        if report.target in earlier:
            baseline = earlier[report.target].baseline
            view.say(f"{report.target}: the earlier artifact is {earlier[report.target].where}")
        if report.artifact == "onnx":
            timed = measure(
                outcome.folder, place, request.workload, baseline, start_runtime, cache, view
            )
        else:
            timed = not_timed(report)
        if timed.unverified is not None:
            view.say(f"{report.target}: {timed.unverified.what}: {timed.unverified.why}")
        targets.append(collect_target(outcome, timed))
    bench = Bench(
        build=reports[0].build,
        at=datetime.now(timezone.utc).replace(microsecond=0),
        config=config,
        machine=with_final_load(machine),
        software=_software(),
        targets=tuple(targets),
        training=collect_training(reports),
    )
    return _compared(bench, request, earlier)


def _compared(
    bench: Bench, request: BenchRequest, earlier_artifacts: dict[str, EarlierArtifact]
) -> Bench:
    earlier, smallest = request.earlier, request.smallest_ratio
    comparison: Comparison | None
    if earlier is not None:
        comparison = compare(bench, earlier.bench, earlier.name, earlier_artifacts, smallest)
    else:
        name = "the config's baseline" if request.baseline is None else str(request.baseline)
        comparison = compare_with_baseline(bench, name, smallest)
    return bench.model_copy(update={"comparison": comparison})


def _earlier_target(request: BenchRequest, outcome: BuildOutcome) -> TargetBench | None:
    """Return the same target in the earlier bench, if it can be timed at all."""
    if request.earlier is None or outcome.report.artifact != "onnx":
        return None
    targets = request.earlier.bench.targets
    return next((one for one in targets if one.target == outcome.report.target), None)


def _named_baselines(
    request: BenchRequest, built: Sequence[tuple[Place, BuildOutcome]], cache: Cache
) -> dict[str, Baseline]:
    """Return the baselines that the user named, for the targets that can be timed."""
    if request.baseline is None:
        return {}
    targets = [outcome.report.target for place, outcome in built if place.device.here]
    return named_baselines(request.baseline, targets, cache) if targets else {}


def _software() -> Software:
    return Software(
        quern=quern_version(),
        python=platform.python_version(),
        versions={name: version(name) for name in LIBRARIES},
    )
