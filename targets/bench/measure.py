"""Times a built artifact in its target's toolchain, never from the cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from pydantic import JsonValue, ValidationError

from pipeline.checks.latency import LatencyParams
from pipeline.contract.plan import PathRef, SourceInput, Step
from pipeline.latency.rounds import LatencyRounds
from pipeline.run.registry import load_check
from targets.bench.bench_schema import EarlierArtifactRecord, Measurement, Unverified
from targets.bench.summaries import summarize
from targets.cache import Cache
from targets.device_checks.parcel import ARTIFACT_ROOT, Parcel, unpack
from targets.device_checks.run_checks import run_beside
from targets.errors import ConfigError, Problem
from targets.place import Place
from targets.planner.build_plan import BuildPlan, PlannedStep
from targets.runtimes.runtime import Mount, StartRuntime
from targets.view import View

CHECK = "latency"
BASELINE = "baseline"
"""Input of that check: another artifact, which is measured in the same rounds for comparison."""

OLDER_SHAPE = "it was recorded without its rounds, by an older Quern: check it again"

# A benchmark only measures; limits are the build's business.
_NO_LIMITS: Mapping[str, JsonValue] = {
    "first_token_ms": None,
    "token_ms": None,
    "target_limits": False,
    "goals": [],
    "max_regression_percent": None,
    # The baseline is an input here; as a parameter it would add a limit.
    BASELINE: None,
}


_ROUNDS = 16
"""More than the check's default: a bench looks for changes of a few percent."""
_SHORT_PER_ROUND = 16
"""As far as time allows. Many, because a single disturbance spoils several short answers."""
_LONG_PER_ROUND = 4
"""Enough in all for a p90 of every length."""


@dataclass(frozen=True)
class BenchWorkload:
    """The user's options for measuring; ``None`` leaves the value of the config."""

    rounds: int | None = None
    """Processes over which the samples are spread; more of them make intervals narrower."""
    samples: int | None = None
    """Answers timed to the data's own prompts."""
    max_seconds: float | None = None
    """Time after which measuring stops with the rounds done so far."""
    lengths: tuple[int, ...] | None = None
    """Lengths of the made-up prompts, in tokens."""

    def require_valid(self) -> None:
        """Raise ``ConfigError`` for values that the ``latency`` check does not accept."""
        try:
            load_check(CHECK).Params.model_validate(self.params())
        except ValidationError as error:
            raise ConfigError(
                [
                    Problem(mistake["msg"], key=f"--{str(mistake['loc'][0]).replace('_', '-')}")
                    for mistake in error.errors()
                ]
            ) from None

    def params(self) -> dict[str, JsonValue]:
        """Return the options that are set, as parameters of the ``latency`` check."""
        values: dict[str, JsonValue] = {
            "rounds": self.rounds,
            "samples": self.samples,
            "max_seconds": self.max_seconds,
            "lengths": None if self.lengths is None else list(self.lengths),
        }
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Baseline:
    """Another artifact to compare with: its model folder, and a description of it."""

    folder: Path
    what: EarlierArtifactRecord


@dataclass(frozen=True)
class Timed:
    """The result of :func:`measure`: a measurement, or the reason why there is none."""

    measurement: Measurement | None = None
    unverified: Unverified | None = None


def measure(
    folder: Path,
    place: Place,
    workload: BenchWorkload,
    baseline: Baseline | None,
    start_runtime: StartRuntime,
    cache: Cache,
    view: View,
) -> Timed:
    """Time the artifact in ``folder`` (``dist/BUILD/TARGET``) on this machine.

    Nothing is timed if the target's device is absent, since times on another device would say
    nothing about it. Raises ``PassFailed``, ``EnvironmentUnable`` or ``Interrupted``.
    """
    if not place.device.here:
        return Timed(unverified=Unverified(what="latency, here", why=place.device.absence))
    parcel = unpack(folder)
    step = latency_step(parcel, workload, baseline)
    view.planned(
        BuildPlan(
            build=parcel.build,
            target=parcel.target,
            steps=(PlannedStep(step, None, "measured anew"),),
            mounts=(),
            artifact=step.name,
        )
    )
    runtime = start_runtime([place.toolchain])
    record = runtime.prepare(place.toolchain, view.say)
    log = cache.root / "logs" / f"bench-{parcel.build}-{parcel.target}.log"
    more = () if baseline is None else (Mount(BASELINE, baseline.folder),)
    (result,) = run_beside(folder, parcel.build, [step], place, runtime, cache, view, log, more)
    evidence = result.evidence.get(CHECK)
    if not isinstance(evidence, dict):
        why = "; ".join(verdict.detail for verdict in result.verdicts) or "it was not timed"
        return Timed(unverified=Unverified(what="latency, here", why=why))
    measurement = read_measurement(
        evidence,
        here=True,
        device=place.device.description,
        system="",
        runtime=record.runtime,
        at=datetime.now(timezone.utc).replace(microsecond=0),
        # If the user gives no baseline, the config may name one.
        baseline_of=EarlierArtifactRecord(where="the baseline of the config")
        if baseline is None
        else baseline.what,
    )
    if measurement is None:
        return Timed(unverified=Unverified(what="latency, here", why=OLDER_SHAPE))
    return Timed(measurement)


def latency_step(parcel: Parcel, workload: BenchWorkload, baseline: Baseline | None) -> Step:
    """Return the build's own ``latency`` check without its limits, with the bench's workload.

    If the chain has no such check, one with default parameters and the data of another check.
    """
    steps = [step for step in parcel.steps if step.type == CHECK]
    check = next((step for step in steps if step.name == CHECK), next(iter(steps), None))
    if check is None:
        template = next((step for step in parcel.steps if step.data is not None), parcel.steps[0])
        artifact = SourceInput(ref=PathRef(root=ARTIFACT_ROOT), digest="")
        check = template.model_copy(
            update={"type": CHECK, "params": {}, "inputs": {"artifact": artifact}, "code": None}
        )
    inputs = {**check.inputs}
    if baseline is not None:
        digest = "".join(file.sha256 for file in baseline.what.files)
        inputs[BASELINE] = SourceInput(ref=PathRef(root=BASELINE), digest=digest)
    params = {**check.params, **_NO_LIMITS, **_thorough(check, workload), **workload.params()}
    return check.model_copy(
        update={"name": "bench", "key": "bench", "params": params, "inputs": inputs}
    )


def _thorough(step: Step, workload: BenchWorkload) -> dict[str, JsonValue]:
    """Return the default number of rounds and samples: at least as many as in the build."""
    params = LatencyParams.model_validate(step.params)
    rounds = workload.rounds or max(params.rounds, _ROUNDS)
    return {
        "rounds": rounds,
        "samples": max(params.samples, _SHORT_PER_ROUND * rounds),
        "long_samples": max(params.long_samples, _LONG_PER_ROUND * rounds),
    }


def read_measurement(
    latency: Mapping[str, JsonValue],
    *,
    here: bool,
    device: str,
    system: str,
    runtime: str,
    at: datetime | None,
    baseline_of: EarlierArtifactRecord | None = None,
) -> Measurement | None:
    """Return the measurement in the evidence of a ``latency`` check.

    ``None`` if an older Quern recorded it, without rounds.
    """
    try:
        artifact = LatencyRounds.model_validate(latency.get("artifact"))
        raw = latency.get(BASELINE)
        baseline = None if raw is None else LatencyRounds.model_validate(raw)
    except ValidationError:
        return None
    if not artifact.rounds:
        return None
    memory, left_out = latency.get("peak_memory_bytes"), latency.get("left_out")
    busy = latency.get("busy")
    return Measurement(
        here=here,
        system=system,
        device=device,
        runtime=runtime,
        at=at,
        artifact=artifact,
        statistics={name: dict(statistics) for name, statistics in summarize(artifact).items()},
        baseline=baseline,
        baseline_of=baseline_of if baseline is not None else None,
        left_out={name: str(why) for name, why in left_out.items()}
        if isinstance(left_out, dict)
        else {},
        peak_memory_bytes=int(memory) if isinstance(memory, (int, float)) else None,
        busy=float(busy) if isinstance(busy, (int, float)) else None,
    )


def peak_memory(figures: Mapping[str, JsonValue]) -> int | None:
    """Return the peak memory in bytes that the ``memory`` check measured, if it ran."""
    memory = figures.get("memory")
    value = memory.get("bytes") if isinstance(memory, dict) else None
    return int(value) if isinstance(value, (int, float)) else None
