"""Measures how fast a model answers, the same way for PyTorch and ONNX Runtime.

The ``latency`` check (ONNX Runtime GenAI) and the ``time_base`` pass (PyTorch) both give
:func:`measure` a function that streams tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, JsonValue, field_validator, model_validator
from typing_extensions import Self

from pipeline.contract.errors import StepError
from pipeline.contract.frozen import Frozen
from pipeline.contract.step import Inputs, Reporter
from pipeline.latency.token_intervals import token_intervals_ms
from pipeline.statistics.percentiles import BOUNDED, SHARES, Statistic, allowed_over, statistic

TIMINGS_FILE = "timings.json"
"""File that the ``time_base`` pass writes into its output folder: a :class:`Timings`."""

_STATISTICS: tuple[Statistic, ...] = ("avg", "min", "max", *SHARES)
_MIRRORED: Mapping[Statistic, Statistic] = {"min": "max", "max": "min"}
_STRIDE = 7919
"""Step through the vocabulary for made-up prompts; a prime, so that tokens hardly repeat."""


class Workload(Frozen):
    """The prompts that are timed: those of the held-out data, or others."""

    prompts: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Messages of a user. Default: the prompts of the held-out data, in turn; those of the training
    data if nothing is held out."""
    prompt_tokens: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        default=None, min_length=1
    )
    """Made-up prompts of these lengths in tokens, in turn, in place of data and ``prompts``."""
    warmup: int = Field(default=3, ge=0)
    """Prompts answered before the clock starts."""
    max_new_tokens: int = Field(default=16, ge=2)
    """Tokens generated per prompt. The model is kept from ending earlier, so that every prompt
    gives the same number of samples."""

    @field_validator("prompts")
    @classmethod
    def _say_something(cls, prompts: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if prompts is not None and not all(prompt.strip() for prompt in prompts):
            raise ValueError("an empty prompt")
        return prompts

    @model_validator(mode="after")
    def _one_kind_of_prompts(self) -> Self:
        if self.prompts is not None and self.prompt_tokens is not None:
            raise ValueError("give prompts or prompt_tokens, not both")
        return self


class Timings(Frozen):
    """Raw measurements, in milliseconds."""

    prompt_tokens: tuple[int, ...] = ()
    """Length of each prompt."""
    first_token_ms: tuple[float, ...] = ()
    """From passing each prompt to its first token: one forward pass over the prompt."""
    token_ms: tuple[float, ...] = ()
    """Of each further token, of all prompts one after the other."""
    total_ms: tuple[float, ...] = ()
    """Of each whole answer."""

    def save(self, folder: Path) -> None:
        """Write :data:`TIMINGS_FILE` into ``folder``."""
        (folder / TIMINGS_FILE).write_text(self.model_dump_json() + "\n", "utf-8")

    @classmethod
    def load(cls, folder: Path) -> Timings:
        """Read :data:`TIMINGS_FILE` from ``folder``."""
        return cls.model_validate_json((folder / TIMINGS_FILE).read_text("utf-8"))


@dataclass(frozen=True)
class Figure:
    """A figure of speed, computed from one of the series of times."""

    name: str
    series: str
    """Field of :class:`Timings`."""
    per_second: bool = False
    """Whether it is a rate, 1,000 divided by the time, so that its minimum is that of the longest
    time."""
    per_prompt_token: bool = False
    """Whether the time is that of one token of the prompt."""

    @property
    def unit(self) -> str:
        """Return the unit of the figure."""
        return "1/s" if self.per_second else "ms"

    def samples(self, timings: Timings) -> tuple[float, ...]:
        """Return the times that it is computed from, in milliseconds."""
        series: tuple[float, ...] = getattr(timings, self.series)
        if self.per_prompt_token:
            pairs = zip(series, timings.prompt_tokens, strict=True)
            return tuple(time / tokens for time, tokens in pairs)
        return series

    def of_time(self, milliseconds: float) -> float:
        """Return the figure for a time."""
        return 1000 / milliseconds if self.per_second else milliseconds

    def value(self, timings: Timings, name: Statistic) -> float:
        """Return a statistic of the figure. The percentile of a rate is that of its time, so that
        a p90 is the rate that 90 % of the samples reach."""
        of_times = _MIRRORED.get(name, name) if self.per_second else name
        return self.of_time(statistic(self.samples(timings), of_times))


FIGURES: Mapping[str, Figure] = {
    figure.name: figure
    for figure in (
        Figure("first_token_ms", "first_token_ms"),
        Figure("token_ms", "token_ms"),
        Figure("total_ms", "total_ms"),
        Figure("prompts_per_second", "first_token_ms", per_second=True),
        Figure("tokens_per_second", "token_ms", per_second=True),
        Figure(
            "prompt_tokens_per_second", "first_token_ms", per_second=True, per_prompt_token=True
        ),
    )
}


def summary(timings: Timings) -> dict[str, dict[str, JsonValue]]:
    """Return every statistic of every figure, for the report; ``None`` for a percentile of the tail
    if there are too few samples."""
    return {
        figure.name: {name: _known(figure, timings, name) for name in _STATISTICS}
        for figure in FIGURES.values()
    }


def _known(figure: Figure, timings: Timings, name: Statistic) -> float | None:
    few = name in BOUNDED and allowed_over(len(figure.samples(timings)), SHARES[name]) is None
    return None if few else round(figure.value(timings, name), 4)


def prompt_ids(inputs: Inputs, workload: Workload, tokenizer: Any, count: int) -> list[list[int]]:
    """Return the token ids of the prompts, ``count`` at most.

    Raises :class:`StepError` if there is neither data nor ``prompts`` nor ``prompt_tokens``.
    """
    from pipeline.data.chat import Message
    from pipeline.data.examples import Example
    from pipeline.data.parts import parts_of
    from pipeline.data.tokenize import Codec

    codec = Codec(tokenizer)
    if workload.prompt_tokens is not None:
        return [synthetic_prompt(tokenizer, length) for length in workload.prompt_tokens[:count]]
    if workload.prompts is not None:
        template = None if inputs.data is None else inputs.data.spec.chat_template
        chat = bool(template or tokenizer.chat_template)
        examples = [
            Example(line, (Message("user", text),), "", chat=chat, chat_template=template)
            for line, text in enumerate(workload.prompts, start=1)
        ]
    elif inputs.data is not None:
        examples = list(parts_of(inputs).held_out_or_train[:count])
    else:
        examples = []
    if not examples:
        raise StepError(
            "there is no prompt to time: neither held-out data nor prompts",
            "set prompts or prompt_tokens in [checks.latency]",
            "bad_input",
        )
    return [codec.prompt_ids(example) for example in examples[:count]]


def synthetic_prompt(tokenizer: Any, length: int) -> list[int]:
    """Return ``length`` ids of ordinary tokens, the same ones for the same vocabulary."""
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    ordinary = sorted(set(tokenizer.get_vocab().values()) - special)
    return [ordinary[(length + place * _STRIDE) % len(ordinary)] for place in range(length)]


def measure(
    stream: Callable[[Sequence[int], int], Iterator[int]],
    prompts: Sequence[Sequence[int]],
    workload: Workload,
    samples: int,
    max_seconds: float,
    report: Reporter,
) -> Timings:
    """Time ``samples`` answers to ``prompts``, which are used in turn.

    ``stream(prompt, count)`` yields ``count`` tokens one by one. After ``max_seconds`` it stops
    with the answers so far, of which there is at least one, and warns.
    """
    lengths: list[int] = []
    first: list[float] = []
    token_times: list[float] = []
    total: list[float] = []
    deadline = time.monotonic() + max_seconds
    for turn in range(-workload.warmup, samples):
        prompt = prompts[turn % len(prompts)]
        spans = token_intervals_ms(stream(prompt, workload.max_new_tokens))
        if turn < 0:
            continue
        lengths.append(len(prompt))
        first.append(spans[0])
        token_times.extend(spans[1:])
        total.append(sum(spans))
        report.progress(turn + 1, samples, "prompts", first_token_ms=spans[0])
        if time.monotonic() > deadline and turn + 1 < samples:
            report.warn(
                f"{turn + 1} of {samples} prompts timed in {max_seconds:g} s; "
                "raise max_seconds for the rest"
            )
            break
    return Timings(
        prompt_tokens=tuple(lengths),
        first_token_ms=tuple(first),
        token_ms=tuple(token_times),
        total_ms=tuple(total),
    )
