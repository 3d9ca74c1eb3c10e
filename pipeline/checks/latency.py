"""Checks the latency of the artifact, measured until each goal is decided or the time is up."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, JsonValue, field_validator, model_validator
from typing_extensions import Self

from pipeline.checks.base import BaseCheck, Outcome
from pipeline.contract.errors import StepError
from pipeline.contract.kinds import Kind
from pipeline.contract.result import Verdict
from pipeline.contract.roles import Role
from pipeline.contract.step import Inputs
from pipeline.latency import prompts
from pipeline.latency.default_limits import DefaultLimits
from pipeline.latency.evidence import evidence
from pipeline.latency.goals import LatencyGoal
from pipeline.latency.prompts import SHORT
from pipeline.latency.rounds import LatencyRounds
from pipeline.latency.rulings import USUAL, BaseModelTimes, Ruling, decide
from pipeline.latency.timing import FIGURES, Timings, Workload
from pipeline.process.load import LoadWatch, busy_note, provisional
from pipeline.statistics.looks import next_look
from pipeline.statistics.percentiles import BOUNDED, SHARES, samples_for
from pipeline.verdicts.goals import require_baseline, validated_goals
from pipeline.verdicts.verdicts import unverified

_MIN_SAMPLES = 64
"""MLPerf: a p90 needs 64 samples if one may be over the limit."""
_MIN_ROUNDS = 3
_REGRESSION_PERCENT = 5.0
_OF_BASELINE = ("first_token_ms", "token_ms")


class LatencyParams(Workload):
    """What is measured, and the limits in milliseconds. The default limits are the target's, which
    grow with the model's size and with the longest prompt that is timed.

    A limit is met or missed only if the samples prove it; until then the check goes on measuring.
    After ``max_seconds`` it fails as undecided. A default limit of the target is unverified
    instead, if the measured value is within it.
    """

    first_token_ms: float | None = Field(default=None, gt=0)
    """Most for the time from handing over a prompt to its first token (p90). Default: the
    target's."""
    token_ms: float | None = Field(default=None, gt=0)
    """Most for the time of each further token (p90). Default: the target's."""
    target_limits: bool = True
    """Use the target's limits for those of both that are not set here."""
    usual_limits: DefaultLimits | None = None
    """The target's limits. Set by the target."""
    goals: tuple[LatencyGoal, ...] = ()
    """Goals of ``first_token_ms`` (one forward pass over the prompt), ``token_ms``, ``total_ms``
    (the whole answer), ``prompts_per_second`` (1,000 divided by ``first_token_ms``),
    ``tokens_per_second`` or ``prompt_tokens_per_second``; ``statistic`` is p90 if not set.
    Percentiles must be proven at 99 % confidence by order statistics that know which process took
    each sample, so as many prompts are timed as that needs (662 and more for a p99). Relative goals
    compare with the base model in PyTorch or, with ``against = "baseline"``, with another artifact
    in the same rounds."""
    samples: int = Field(default=96, ge=_MIN_SAMPLES)
    """How many prompts are timed at first; more if a goal needs more. What more is needed is rather
    asked of more processes than of each more often."""
    lengths: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    """Lengths in tokens of the made-up prompts that are timed too. Default: 128, 512, 1024 and
    2112 (beyond 2,048), as far as the model's context and the time allow."""
    long_samples: int = Field(default=6, ge=1)
    """How many prompts of each length are timed; for a length with a goal of its own, as many as of
    the short prompts."""
    rounds: int = Field(default=12, ge=_MIN_ROUNDS)
    """Fresh processes over which the samples are spread at first. Intervals are computed from the
    differences between them. As long as a goal is undecided, there are more of them."""
    cpus: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(default=None, min_length=1)
    """Numbers of the CPUs that the timed process is pinned to. Default: all CPUs of the build."""
    baseline: str | None = None
    """Another artifact to compare with, relative to the config file: the output of a build, such as
    ``dist/tone/cpu``, or an ONNX Runtime GenAI model folder. The two answer alternately, so that a
    busy machine slows both down."""
    max_regression_percent: float | None = Field(default=None, ge=0)
    """By how much the medians of ``first_token_ms`` and ``token_ms`` may exceed the baseline's.
    Default: 5 if there is a baseline and no goal compares with it."""
    max_seconds: float = Field(default=600, gt=0)
    """Time after which measuring stops with the samples there are."""

    @field_validator("goals")
    @classmethod
    def _known(cls, goals: tuple[LatencyGoal, ...]) -> tuple[LatencyGoal, ...]:
        usual = (
            goal if goal.statistic else goal.model_copy(update={"statistic": USUAL})
            for goal in goals
        )
        return validated_goals(tuple(usual), FIGURES, statistics=True, baseline=True)

    @model_validator(mode="after")
    def _something_to_compare_with(self) -> Self:
        require_baseline(self.goals, self.baseline)
        if self.max_regression_percent is not None and self.baseline is None:
            raise ValueError("max_regression_percent needs a baseline")
        return self

    def with_default_limits(
        self, weights_bytes: int, prompt_tokens: int
    ) -> tuple[LatencyParams, Mapping[str, str]]:
        """Return these parameters with the target's limits filled in, and the source of each.

        ``weights_bytes`` are the weights that the artifact reads per token, ``prompt_tokens`` is
        the length of the longest prompt.
        """
        if self.usual_limits is None or not self.target_limits:
            return self, {}
        usual = self.usual_limits.computed(weights_bytes, prompt_tokens)
        missing = {name: limit for name, limit in usual.items() if getattr(self, name) is None}
        values = {name: limit.milliseconds for name, limit in missing.items()}
        sources = {name: limit.source for name, limit in missing.items()}
        return self.model_copy(update=values), sources

    def limits(self) -> Iterator[tuple[str, LatencyGoal]]:
        """Yield every limit as a goal, with the name of its verdict."""
        for name in ("first_token_ms", "token_ms"):
            limit = getattr(self, name)
            if limit is not None:
                yield name, LatencyGoal(metric=name, statistic=USUAL, at_most=limit)
        for goal in self.goals:
            yield goal.name, goal
        regression = self.max_regression_percent
        if regression is None and self.baseline and not any(g.of_baseline for g in self.goals):
            regression = _REGRESSION_PERCENT
        if regression is not None:
            for name in _OF_BASELINE:
                goal = LatencyGoal(
                    metric=name,
                    statistic="p50",
                    against="baseline",
                    max_degradation_percent=regression,
                )
                yield goal.name, goal

    def prompt_count(self, prompt: str = SHORT) -> int:
        """Return the number of prompts of a kind that gives every goal enough samples."""
        goals = [goal for _, goal in self.limits() if goal.kind == prompt]
        needed = [self.samples if prompt == SHORT or goals else self.long_samples]
        for goal in goals:
            if goal.statistic in BOUNDED:
                samples = samples_for(SHARES[goal.statistic])
                per_prompt = self.max_new_tokens - 1
                of_tokens = FIGURES[goal.metric].series == "token_ms"
                needed.append(math.ceil(samples / per_prompt) if of_tokens else samples)
        return max(needed)

    def required_lengths(self) -> set[int]:
        """Return the lengths that must be timed: those in ``lengths`` or in a goal."""
        of_goals = {goal.prompt for goal in self.goals if goal.prompt != SHORT}
        return of_goals | set(self.lengths or ())


class Check(BaseCheck[LatencyParams]):
    """Time the artifact on this machine, with the settings in its own ``genai_config.json``.

    An artifact for a CPU asks for one thread per core unless ``threads`` of ``model_builder`` says
    otherwise; where those settings say nothing, ONNX Runtime GenAI uses half of the cores, but at
    most 16. Without the target's device nothing is timed.
    """

    Params = LatencyParams
    sources: ClassVar[tuple[str, ...]] = ("baseline",)
    uses_data: ClassVar[bool] = True
    uses_device: ClassVar[bool] = True
    repeatable: ClassVar[bool] = False

    @classmethod
    def needs_of(cls, params: LatencyParams, artifact: Kind = "onnx") -> tuple[Role, ...]:
        """Return the roles; with a goal relative to the base model, ``base_timing`` among them."""
        needs = super().needs_of(params, artifact)
        return (*needs, "base_timing") if any(goal.of_base for goal in params.goals) else needs

    @classmethod
    def own_pass_of(cls, params: LatencyParams, role: Role) -> dict[str, JsonValue]:  # noqa: ARG003
        """Return the parameters with which the base model does the same work."""
        return params.model_dump(mode="json", include=set(Workload.model_fields))

    def run(self, inputs: Inputs, params: LatencyParams) -> Outcome:
        """Measure and decide. Raises :class:`StepError` without data and ``prompts``."""
        if inputs.absent_device:
            # Only the names of the limits are needed, so any size will do.
            params, _ = params.with_default_limits(weights_bytes=0, prompt_tokens=0)
            names = [name for name, _ in params.limits()]
            return Outcome(tuple(unverified(name, inputs.absent_device) for name in names))
        watch = LoadWatch()
        measurement = _measurement(inputs, params)
        measurement.run_planned_rounds()
        prompt_tokens = measurement.measured["artifact"].joined(SHORT).prompt_tokens
        longest = max(prompt_tokens, default=0)
        params, sources = params.with_default_limits(_bytes_per_token(inputs["artifact"]), longest)
        base = _base(inputs)
        rulings = _rulings(params, measurement.measured, base)
        warned = False
        for look in itertools.count(2):
            open_prompts = _open_prompts(params, rulings) - measurement.left_out.keys()
            if not open_prompts or measurement.is_out_of_time:
                break
            if not warned:
                open_goals = _open_goals_message(rulings)
                inputs.report.warn(f"{open_goals}; measuring on, {params.max_seconds:g} s at most")
                warned = True
            measurement.run_rounds(next_look(measurement.processes), open_prompts)
            # What is decided stays so: the next look, at a smaller chance of error, may be open.
            rulings = tuple(
                later if earlier.undecided else earlier
                for earlier, later in zip(
                    rulings, _rulings(params, measurement.measured, base, look), strict=True
                )
            )
        for length, why in measurement.left_out.items():
            inputs.report.warn(f"prompts of {length} tokens are not timed: {why}")
        verdicts = tuple(
            _final_verdict(
                ruling,
                measurement.seconds,
                sources.get(name, ""),
                measurement.left_out.get(goal.kind, ""),
            )
            for (name, goal), ruling in zip(params.limits(), rulings, strict=True)
        )
        others = watch.share_of_others()
        busy = busy_note(others)
        latency = evidence(
            inputs["artifact"], measurement.measured, measurement.left_out, base, others
        )
        if all(verdict.status == "passed" for verdict in verdicts):
            # Load makes times longer, so what keeps its limits under load keeps them without.
            if busy:
                inputs.report.warn(f"{busy}: the times in the report are longer than they need be")
            return Outcome(verdicts, {"latency": latency})
        return Outcome(verdicts, {"latency": latency, **provisional(busy, inputs.report)})


def _measurement(inputs: Inputs, params: LatencyParams) -> Any:
    from pipeline.checks._baseline import loadable_baseline
    from pipeline.contract.errors import ArtifactError
    from pipeline.data.tokenizer import load_artifact_tokenizer
    from pipeline.latency.interleaved import (
        Candidate,
        InterleavedMeasurement,
        MeasurementConditions,
    )
    from pipeline.onnx.genai_config import GenAiConfig

    folder = inputs["artifact"]
    try:
        config = GenAiConfig(folder)
    except ValueError as error:
        raise ArtifactError(str(error)) from error
    candidates = [Candidate("artifact", folder, threads=config.threads)]
    context = config.context
    if "baseline" in inputs.paths:
        other = loadable_baseline(inputs["baseline"], folder)
        baseline_config = GenAiConfig(other)
        candidates.append(Candidate("baseline", other, threads=baseline_config.threads))
        context = min(context, baseline_config.context)
    prompt_sets = _kinds(inputs, params, load_artifact_tokenizer(folder), context)
    conditions = MeasurementConditions(
        max_new_tokens=params.max_new_tokens,
        warmup=params.warmup,
        rounds=params.rounds,
        per_round=-(-params.samples // params.rounds),
        seconds=params.max_seconds,
        cpus=_cpus(params),
    )
    return InterleavedMeasurement(candidates, prompt_sets, conditions, inputs.report)


def _bytes_per_token(folder: Path) -> int:
    from pipeline.contract.errors import ArtifactError
    from pipeline.onnx.genai_config import GenAiConfig
    from pipeline.onnx.graph import OnnxModel

    try:
        return OnnxModel(folder / GenAiConfig(folder).filename).bytes_per_token
    except ValueError as error:
        raise ArtifactError(str(error)) from error


def _kinds(
    inputs: Inputs, params: LatencyParams, tokenizer: Any, context: int
) -> tuple[prompts.PromptSet, ...]:
    """Return the kinds of prompts to time.

    Raises :class:`StepError` if there are no prompts, or if some do not fit into the context.
    Default lengths that do not fit are left out.
    """
    short = prompts.short(inputs, params, tokenizer, params.prompt_count())
    requested = params.required_lengths()
    room = context - params.max_new_tokens
    longest = max(short.longest, *requested, 0)
    if longest > room:
        raise StepError(
            f"prompt and answer have {longest + params.max_new_tokens} tokens, the model's "
            f"context {context}",
            "use shorter prompts, or a smaller max_new_tokens, in [checks.latency]",
            "bad_input",
        )
    usual = prompts.LENGTHS if params.lengths is None else ()
    lengths = sorted(requested | {length for length in usual if length <= room})
    long = (prompts.long(tokenizer, n, params.prompt_count(str(n))) for n in lengths)
    return (short, *long)


def _cpus(params: LatencyParams) -> tuple[int, ...]:
    """Return the CPUs to pin to. Raises :class:`StepError` for one that does not exist."""
    if not hasattr(os, "sched_getaffinity"):
        if params.cpus is not None:
            raise StepError("this system cannot pin a process", "remove cpus", "bad_input")
        return ()
    available = sorted(os.sched_getaffinity(0))
    missing = sorted(set(params.cpus or ()) - set(available))
    if missing:
        raise StepError(
            f"there is no CPU {', '.join(map(str, missing))} for this build",
            f"cpus in [checks.latency] can name {', '.join(map(str, available))}",
            "bad_input",
        )
    return tuple(params.cpus or available)


def _base(inputs: Inputs) -> BaseModelTimes:
    folder = inputs.paths.get("base_timing")
    if folder is None:
        return BaseModelTimes()
    device = str(inputs.metrics.get("base_timing", {}).get("device", ""))
    return BaseModelTimes(Timings.load(folder), device)


def _rulings(
    params: LatencyParams,
    measured: Mapping[str, LatencyRounds],
    base: BaseModelTimes,
    look: int = 1,
) -> tuple[Ruling, ...]:
    ours, baseline = measured["artifact"], measured.get("baseline")
    return tuple(decide(name, goal, ours, baseline, base, look) for name, goal in params.limits())


def _open_prompts(params: LatencyParams, rulings: tuple[Ruling, ...]) -> set[str]:
    """Return the kinds of prompts of the undecided goals."""
    pairs = zip(params.limits(), rulings, strict=True)
    return {goal.kind for (_, goal), ruling in pairs if ruling.undecided}


def _open_goals_message(rulings: tuple[Ruling, ...]) -> str:
    return "; ".join(
        f"{ruling.verdict.name} is {ruling.verdict.detail}"
        for ruling in rulings
        if ruling.undecided
    )


def _final_verdict(
    ruling: Ruling, seconds: float, limit_source: str, left_out: str = ""
) -> Verdict:
    """Return the final verdict; a goal that is still undecided fails. ``left_out`` says why its
    prompts were not timed.

    A default limit is unverified instead if the measured value is within it, because for a large
    model the time does not suffice for many answers to long prompts.
    """
    verdict = ruling.verdict.model_copy(update={"limit_source": limit_source})
    if not ruling.undecided:
        return verdict
    detail = (
        f"{verdict.detail}: {left_out}; raise max_seconds"
        if left_out
        else f"{verdict.detail}, after {seconds:.0f} s; measure on a quieter machine, or raise "
        "max_seconds"
    )
    value, limit = verdict.value, verdict.limit
    is_within = value is not None and limit is not None and value <= limit
    status = "unverified" if limit_source and is_within else verdict.status
    return verdict.model_copy(update={"detail": detail, "status": status})
