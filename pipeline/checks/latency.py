"""How fast is the artifact, as it is shipped? Time to first token and per token, with limits."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, JsonValue, field_validator

from pipeline.checks.base import BaseCheck, Outcome
from pipeline.model import Frozen
from pipeline.passes.base import Inputs, StepError
from pipeline.result import Verdict

_SHARE = 0.9
_MIN_SAMPLES = 64
"""MLPerf: a p90 needs 64 samples if one may be over the limit."""


class LatencyParams(Frozen):
    """What is measured, and the limits in milliseconds. The target has limits of its own."""

    first_token_ms: float | None = Field(default=None, gt=0)
    """Most for the time from handing over a prompt to its first token (p90)."""
    token_ms: float | None = Field(default=None, gt=0)
    """Most for the time of each further token (p90)."""
    prompts: tuple[str, ...] | None = Field(default=None, min_length=1)
    """What the user says. Default: the prompts of the held-out data, in turn;
    those of the training data where nothing is held out."""
    samples: int = Field(default=_MIN_SAMPLES, ge=_MIN_SAMPLES)
    """Prompts timed."""
    warmup: int = Field(default=3, ge=0)
    """Prompts answered before the clock starts."""
    max_new_tokens: int = Field(default=16, ge=2)
    """Tokens generated per prompt. The model is kept from ending earlier, so that every prompt
    gives the same number of samples."""
    max_seconds: float = Field(default=600, gt=0)
    """Time after which measuring stops with the samples there are."""

    @field_validator("prompts")
    @classmethod
    def _say_something(cls, prompts: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if prompts is not None and not all(prompt.strip() for prompt in prompts):
            raise ValueError("an empty prompt")
        return prompts


@dataclass
class _Samples:
    """Raw measurements, in milliseconds."""

    prompt_tokens: list[int] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    rest: list[float] = field(default_factory=list)


class Check(BaseCheck[LatencyParams]):
    """Time the artifact on this machine with the settings in its own ``genai_config.json``.

    ONNX Runtime GenAI uses one thread unless those settings say otherwise; the ``threads``
    parameter of ``model_builder`` writes them. Without the target's device nothing is timed.
    """

    Params = LatencyParams
    uses_data: ClassVar[bool] = True
    uses_device: ClassVar[bool] = True

    def run(self, inputs: Inputs, params: LatencyParams) -> Outcome:
        """Measure. Raises :class:`StepError` where there is neither data nor ``prompts``."""
        from pipeline.onnx.session import Session
        from pipeline.onnx.verdicts import unverified

        if inputs.absent_device:
            limits = {"first_token_ms": params.first_token_ms, "token_ms": params.token_ms}
            named = [name for name, limit in limits.items() if limit is not None]
            return Outcome(tuple(unverified(name, inputs.absent_device) for name in named))
        folder = inputs["artifact"]
        prompts = _prompts(inputs, params)
        session = Session(folder)
        samples = _measure(session, prompts, params, inputs)
        return Outcome(_verdicts(params, samples), _evidence(folder, session, samples))


def _prompts(inputs: Inputs, params: LatencyParams) -> list[list[int]]:
    from pipeline.data.chat import Message
    from pipeline.data.examples import Example
    from pipeline.data.parts import parts_of
    from pipeline.data.tokenize import Codec
    from pipeline.onnx.turns import load_tokenizer

    codec = Codec(load_tokenizer(inputs["artifact"]))
    if params.prompts is not None:
        template = None if inputs.data is None else inputs.data.spec.chat_template
        chat = bool(template or codec.tokenizer.chat_template)
        examples = [
            Example(line, (Message("user", text),), "", chat=chat, chat_template=template)
            for line, text in enumerate(params.prompts, start=1)
        ]
    elif inputs.data is not None:
        examples = parts_of(inputs).unseen_first
    else:
        raise StepError(
            "the latency check needs prompts or a data set",
            hint="set prompts in [checks.latency]",
            cause="bad_input",
        )
    return [codec.prompt_ids(example) for example in examples[: params.samples]]


def _measure(
    session: Any, prompts: Sequence[list[int]], params: LatencyParams, inputs: Inputs
) -> _Samples:
    found = _Samples()
    deadline = time.monotonic() + params.max_seconds
    for turn in range(-params.warmup, params.samples):
        prompt = prompts[turn % len(prompts)]
        times = [time.perf_counter()]
        for _ in session.stream(prompt, params.max_new_tokens, never_end=True):
            times.append(time.perf_counter())  # noqa: PERF401 - a comprehension would time itself
        if turn < 0:
            continue
        spans = [1000 * (end - start) for start, end in itertools.pairwise(times)]
        found.prompt_tokens.append(len(prompt))
        found.first.append(spans[0])
        found.rest.extend(spans[1:])
        inputs.report.progress(turn + 1, params.samples, "prompts", first_token_ms=spans[0])
        if time.monotonic() > deadline:
            inputs.report.warn(
                f"latency: {turn + 1} of {params.samples} prompts timed in "
                f"{params.max_seconds:g} s; raise max_seconds for the rest"
            )
            break
    return found


def _verdicts(params: LatencyParams, samples: _Samples) -> tuple[Verdict, ...]:
    from pipeline.onnx.percentiles import allowed_over, bound, percentile
    from pipeline.onnx.verdicts import held, unverified

    verdicts = []
    for name, values, limit in (
        ("first_token_ms", samples.first, params.first_token_ms),
        ("token_ms", samples.rest, params.token_ms),
    ):
        if limit is None:
            continue
        value = bound(values, _SHARE)
        if value is None:
            # So few samples prove no p90; many times over the limit, they disprove it.
            middle = percentile(values, 0.5)
            if middle > limit:
                detail = f"p50 of only {len(values)} samples"
                verdict = held(name, middle, "<=", limit, "ms", detail)
            else:
                verdict = unverified(name, f"{len(values)} samples are too few for a p90")
        else:
            over = allowed_over(len(values), _SHARE)
            detail = (
                f"p90 at 99 % confidence ({over} of {len(values)} samples may be over); "
                f"p50 {percentile(values, 0.5):.2f}, p90 {percentile(values, _SHARE):.2f}"
            )
            verdict = held(name, value, "<=", limit, "ms", detail)
        if verdict is not None:
            verdicts.append(verdict)
    return tuple(verdicts)


def _evidence(folder: Path, session: Any, samples: _Samples) -> dict[str, JsonValue]:
    from pipeline.onnx.agreement import GenAiConfig
    from pipeline.onnx.percentiles import bound, percentile

    options = GenAiConfig(folder).decoder.get("session_options", {})
    first, rest = percentile(samples.first, 0.5), percentile(samples.rest, 0.5)
    middle_prompt = percentile(samples.prompt_tokens, 0.5)
    latency: dict[str, JsonValue] = {
        "prompts": len(samples.first),
        "prompt_tokens_p50": middle_prompt,
        "intra_op_num_threads": options.get("intra_op_num_threads"),
        "load_seconds": round(session.load_seconds, 4),
        "bytes": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        "prompt_tokens_per_second": round(1000 * middle_prompt / first, 2),
        "decode_tokens_per_second": round(1000 / rest, 2),
        "first_token_ms": _summary(samples.first, bound),
        "token_ms": _summary(samples.rest, bound),
        "raw": {
            "prompt_tokens": list(samples.prompt_tokens),
            "first_token_ms": [round(value, 4) for value in samples.first],
            "token_ms": [round(value, 4) for value in samples.rest],
        },
    }
    return {"latency": latency}


def _summary(values: Sequence[float], bound: Any) -> dict[str, JsonValue]:
    from pipeline.onnx.percentiles import percentile

    sure = bound(values, _SHARE)
    return {
        "p50": round(percentile(values, 0.5), 4),
        "p90": round(percentile(values, _SHARE), 4),
        "p90_bound": None if sure is None else round(sure, 4),
        "samples": len(values),
    }
