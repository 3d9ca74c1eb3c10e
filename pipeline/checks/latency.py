"""How fast is the artifact, as it is shipped? Time to first token and per token, with limits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, JsonValue, field_validator

from pipeline.checks.base import BaseCheck, Outcome, Role
from pipeline.checks.goals import Goal, judged, known_goals
from pipeline.onnx.percentiles import (
    BOUNDED,
    SHARES,
    Statistic,
    allowed_over,
    bound,
    percentile,
    samples_for,
)
from pipeline.onnx.verdicts import unverified
from pipeline.passes.base import Inputs, StepError
from pipeline.plan import Kind
from pipeline.result import Verdict
from pipeline.timing import FIGURES, Figure, Timings, Workload, measure, prompt_ids, summary

_USUAL: Literal["p90"] = "p90"
_MIN_SAMPLES = 64
"""MLPerf: a p90 needs 64 samples if one may be over the limit."""


class LatencyParams(Workload):
    """What is measured, and the limits in milliseconds. The target has limits of its own."""

    first_token_ms: float | None = Field(default=None, gt=0)
    """Most for the time from handing over a prompt to its first token (p90)."""
    token_ms: float | None = Field(default=None, gt=0)
    """Most for the time of each further token (p90)."""
    target_limits: bool = True
    """Hold both to the limits of the target where none are given here."""
    goals: tuple[Goal, ...] = ()
    """Goals of ``first_token_ms`` (one forward pass over the prompt), ``token_ms``, ``total_ms``
    (the whole answer), ``prompts_per_second`` (1,000 divided by ``first_token_ms``) or
    ``tokens_per_second``; ``statistic`` is p90 unless told. The tail, from p90 on, must be proven
    at 99 % confidence by MLPerf's early-stopping rule, for which as many prompts are timed as it
    needs (662 for a p99). Relative goals compare with the base model in PyTorch."""
    samples: int = Field(default=_MIN_SAMPLES, ge=_MIN_SAMPLES)
    """Prompts timed; more where a goal needs more."""
    max_seconds: float = Field(default=600, gt=0)
    """Time after which measuring stops with the samples there are."""

    @field_validator("goals")
    @classmethod
    def _known(cls, goals: tuple[Goal, ...]) -> tuple[Goal, ...]:
        usual = (
            goal if goal.statistic else goal.model_copy(update={"statistic": _USUAL})
            for goal in goals
        )
        return known_goals(tuple(usual), FIGURES, statistics=True)

    def limits(self) -> Iterator[tuple[str, Goal]]:
        """Yield every limit as a goal, with the name of its verdict."""
        for name in ("first_token_ms", "token_ms"):
            limit = getattr(self, name)
            if limit is not None:
                yield name, Goal(metric=name, statistic=_USUAL, at_most=limit)
        for goal in self.goals:
            yield goal.name, goal

    def prompts_to_time(self) -> int:
        """Return how many prompts give every goal the samples it needs."""
        needed = [self.samples]
        for _, goal in self.limits():
            if goal.statistic in BOUNDED:
                samples = samples_for(SHARES[goal.statistic])
                per_prompt = self.max_new_tokens - 1
                of_tokens = FIGURES[goal.metric].series == "token_ms"
                needed.append(math.ceil(samples / per_prompt) if of_tokens else samples)
        return max(needed)


class Check(BaseCheck[LatencyParams]):
    """Time the artifact on this machine with the settings in its own ``genai_config.json``.

    ONNX Runtime GenAI uses one thread unless those settings say otherwise; the ``threads``
    parameter of ``model_builder`` writes them. Without the target's device nothing is timed.
    """

    Params = LatencyParams
    uses_data: ClassVar[bool] = True
    uses_device: ClassVar[bool] = True

    @classmethod
    def needs_of(cls, params: LatencyParams, artifact: Kind = "onnx") -> tuple[Role, ...]:
        """Return ``base_timing`` too where a goal is relative."""
        relative = any(goal.is_relative for goal in params.goals)
        needs = super().needs_of(params, artifact)
        return (*needs, "base_timing") if relative else needs

    @classmethod
    def timing_of(cls, params: LatencyParams) -> dict[str, JsonValue]:
        """Return the same work for the base model."""
        return params.model_dump(mode="json", include=set(Workload.model_fields))

    def run(self, inputs: Inputs, params: LatencyParams) -> Outcome:
        """Measure. Raises :class:`StepError` where there is neither data nor ``prompts``."""
        from pipeline.onnx.session import Session
        from pipeline.onnx.turns import load_tokenizer

        if inputs.absent_device:
            names = [name for name, _ in params.limits()]
            return Outcome(tuple(unverified(name, inputs.absent_device) for name in names))
        folder = inputs["artifact"]
        count = params.prompts_to_time()
        prompts = prompt_ids(inputs, params, load_tokenizer(folder), count)
        _require_room(folder, max(map(len, prompts)) + params.max_new_tokens)
        session = Session(folder)
        stream = partial(session.stream, never_end=True)
        timings = measure(stream, prompts, params, count, params.max_seconds, inputs.report)
        base = _Base(inputs)
        verdicts = tuple(_verdict(name, goal, timings, base) for name, goal in params.limits())
        return Outcome(verdicts, _evidence(folder, session, timings, base))


class _Base:
    """What the ``time_base`` pass measured, where it did."""

    def __init__(self, inputs: Inputs) -> None:
        folder = inputs.paths.get("base_timing")
        self.timings = None if folder is None else Timings.load(folder)
        self.device = str(inputs.metrics.get("base_timing", {}).get("device", ""))

    def value(self, figure: Figure, statistic: Statistic) -> float | None:
        """Return the base model's figure; ``None`` where it was not timed."""
        if self.timings is None or not self.timings.total_ms:
            return None
        return figure.value(self.timings, statistic)


def _require_room(folder: Path, tokens: int) -> None:
    from pipeline.onnx.agreement import GenAiConfig
    from pipeline.onnx.errors import ArtifactError

    try:
        context = GenAiConfig(folder).context
    except ValueError as error:
        raise ArtifactError(str(error)) from error
    if tokens > context:
        raise StepError(
            f"prompt and answer have {tokens} tokens, the model's context {context}",
            "use shorter prompts, or a smaller max_new_tokens, in [checks.latency]",
            "bad_input",
        )


def _verdict(name: str, goal: Goal, timings: Timings, base: _Base) -> Verdict:
    """Hold a figure to its goal: the tail at its bound, all else as it was measured."""
    figure = FIGURES[goal.metric]
    statistic = goal.statistic or _USUAL
    theirs = base.value(figure, statistic) if goal.is_relative else None
    if goal.is_relative and theirs is None:
        return unverified(name, "the base model was not timed")
    times = figure.samples(timings)
    relation, _ = goal.limit(figure.per_second, theirs)
    value = figure.value(timings, statistic)
    detail = f"{len(times)} samples"
    # Samples bound a tail from one side only: how slow it may be.
    if statistic in BOUNDED and (relation == ">=") == figure.per_second:
        share = SHARES[statistic]
        sure = bound(times, share)
        if sure is None:
            middle = figure.value(timings, "p50")
            found = _judged(name, goal, figure, middle, theirs, f"p50 of only {len(times)} samples")
            # So few samples prove no tail; many times over the limit, they disprove it.
            few = f"{len(times)} samples are too few for a {statistic}"
            return found if found.status == "failed" else unverified(name, few)
        over = allowed_over(len(times), share)
        middle = figure.value(timings, "p50")
        detail = (
            f"{statistic} at 99 % confidence ({over} of {len(times)} samples may be over); "
            f"p50 {middle:.2f}, {statistic} {value:.2f}"
        )
        value = figure.of_time(sure)
    if theirs is not None:
        detail += f"; the base model ran in PyTorch on {base.device}"
    return _judged(name, goal, figure, value, theirs, detail)


def _judged(
    name: str, goal: Goal, figure: Figure, value: float, base: float | None, detail: str
) -> Verdict:
    verdict = judged(goal, value, figure.per_second, base, figure.unit, detail)
    return verdict.model_copy(update={"name": name})


def _evidence(folder: Path, session: Any, timings: Timings, base: _Base) -> dict[str, JsonValue]:
    from pipeline.onnx.agreement import GenAiConfig

    options = GenAiConfig(folder).decoder.get("session_options", {})
    first, rest = percentile(timings.first_token_ms, 0.5), percentile(timings.token_ms, 0.5)
    middle_prompt = percentile(timings.prompt_tokens, 0.5)
    statistics = summary(timings)
    figures: dict[str, JsonValue] = {
        name: {**values, **_bounds(FIGURES[name], timings)} for name, values in statistics.items()
    }
    latency: dict[str, JsonValue] = {
        "prompts": len(timings.first_token_ms),
        "prompt_tokens_p50": middle_prompt,
        "intra_op_num_threads": options.get("intra_op_num_threads"),
        "load_seconds": round(session.load_seconds, 4),
        "bytes": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        "prompt_tokens_per_second": round(1000 * middle_prompt / first, 2),
        "decode_tokens_per_second": round(1000 / rest, 2),
        **figures,
        "raw": {
            "prompt_tokens": list(timings.prompt_tokens),
            "first_token_ms": [round(value, 4) for value in timings.first_token_ms],
            "token_ms": [round(value, 4) for value in timings.token_ms],
            "total_ms": [round(value, 4) for value in timings.total_ms],
        },
    }
    if base.timings is not None and base.timings.total_ms:
        latency["base"] = {"device": base.device, **summary(base.timings)}
    return {"latency": latency}


def _bounds(figure: Figure, timings: Timings) -> dict[str, JsonValue]:
    samples = figure.samples(timings)
    sure = bound(samples, SHARES[_USUAL])
    return {
        "p90_bound": None if sure is None else round(figure.of_time(sure), 4),
        "samples": len(samples),
    }
