"""Does the artifact generate as it should? Answers end, say something, and do not go in circles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field, JsonValue

from pipeline.checks.base import BaseCheck, Outcome
from pipeline.model import Frozen
from pipeline.onnx.verdicts import held, on_cpu, unverified
from pipeline.passes.base import Inputs

_NGRAM = 4
_MIN_NGRAMS = 12
_MAX_REPETITION = 0.5
_ON_PROVIDER = "generates_on_provider"
_UNKNOWN_CHARACTER = "\ufffd"


class GenerationParams(Frozen):
    """How much is generated, and the limits. Shares lie between 0 and 1."""

    samples: int = Field(default=32, ge=1)
    """Held-out prompts that are answered, the first ones of the file."""
    max_new_tokens: int | None = Field(default=None, ge=1)
    """Tokens after which an answer counts as never ending. Default: 16 more than twice the longest
    expected answer."""
    min_ended: float | None = Field(default=None, ge=0, le=1)
    """Least share of answers that end by themselves. Default: 1 for data with labels, else 0.9."""
    max_degenerate: float = Field(default=0.0, ge=0, le=1)
    """Most answers that go in circles: more than half of their runs of four tokens repeat an
    earlier one (seq-rep-4 of Welleck et al. 2020 above 0.5, in answers of 15 tokens and more)."""
    max_broken: float = Field(default=0.0, ge=0, le=1)
    """Most answers that are empty or hold bytes that are not a character."""


@dataclass(frozen=True)
class _Answer:
    place: str
    line: int
    text: str
    tokens: int
    ended: bool
    repetition: float
    broken: bool


class Check(BaseCheck[GenerationParams]):
    """Let the artifact answer held-out prompts freely, well past the length of a good answer.

    Without the target's device it answers through the CPU provider, and that it does so on the
    device stays unverified.
    """

    Params = GenerationParams
    uses_data: ClassVar[bool] = True
    asks_held_out: ClassVar[bool] = True
    uses_device: ClassVar[bool] = True

    def run(self, inputs: Inputs, params: GenerationParams) -> Outcome:
        """Generate and judge. Raises :class:`StepError` without data."""
        from pipeline.data.parts import parts_of
        from pipeline.data.tokenize import Codec
        from pipeline.onnx.session import Session
        from pipeline.onnx.turns import load_tokenizer

        examples = parts_of(inputs).eval[: params.samples]
        session = Session(inputs["artifact"], inputs.threads, cpu=bool(inputs.absent_device))
        codec = Codec(load_tokenizer(inputs["artifact"]))
        longest = max(len(codec.completion_ids(item.completion, item)) for item in examples)
        limit = params.max_new_tokens or 2 * longest + 16
        answers = []
        for done, example in enumerate(examples, start=1):
            ids = list(session.stream(codec.prompt_ids(example), limit))
            ended = bool(ids) and ids[-1] in session.end_ids
            said = ids[:-1] if ended else ids
            text = codec.decode(said)
            broken = not text.strip() or (
                _UNKNOWN_CHARACTER in text and _UNKNOWN_CHARACTER not in example.completion
            )
            # An answer cut off at the limit may end within a character; that is not its fault.
            if broken and not ended and text.rstrip(_UNKNOWN_CHARACTER).strip():
                broken = _UNKNOWN_CHARACTER in text.rstrip(_UNKNOWN_CHARACTER)
            circling = repetition(said)
            answers.append(
                _Answer(example.place, example.line, text, len(said), ended, circling, broken)
            )
            inputs.report.progress(done, len(examples), "prompts")
        labelled = all(example.choices for example in examples)
        outcome = _outcome(answers, params, limit, 1.0 if labelled else 0.9)
        if inputs.absent_device:
            waiting = unverified(_ON_PROVIDER, inputs.absent_device)
            return Outcome((*on_cpu(outcome.verdicts), waiting), outcome.evidence)
        answered = sum(item.tokens > 0 for item in answers) / len(answers)
        there = held(_ON_PROVIDER, answered, ">=", 1.0, detail="prompts that got a token")
        return Outcome((*outcome.verdicts, there), outcome.evidence)


def repetition(ids: Sequence[int]) -> float:
    """Return the share of runs of four tokens that occurred before (seq-rep-4).

    Nought for answers with fewer than 12 such runs: short answers repeat by chance.
    """
    runs = [tuple(ids[start : start + _NGRAM]) for start in range(len(ids) - _NGRAM + 1)]
    return 1 - len(set(runs)) / len(runs) if len(runs) >= _MIN_NGRAMS else 0.0


def _outcome(
    answers: Sequence[_Answer], params: GenerationParams, limit: int, ended_default: float
) -> Outcome:
    count = len(answers)
    ended = sum(item.ended for item in answers) / count
    circling = [item for item in answers if item.repetition > _MAX_REPETITION]
    broken = [item for item in answers if item.broken]
    min_ended = ended_default if params.min_ended is None else params.min_ended
    open_ended = next((item for item in answers if not item.ended), None)
    found = (
        held(
            "answers_end", ended, ">=", min_ended, detail=f"within {limit} tokens{_of(open_ended)}"
        ),
        held(
            "degenerate_answers",
            len(circling) / count,
            "<=",
            params.max_degenerate,
            detail=f"{len(circling)} of {count}{_of(circling[0] if circling else None)}",
        ),
        held(
            "broken_answers",
            len(broken) / count,
            "<=",
            params.max_broken,
            detail=f"{len(broken)} of {count}{_of(broken[0] if broken else None)}",
        ),
    )
    rows: list[JsonValue] = [
        {
            "line": item.line,
            "text": item.text,
            "tokens": item.tokens,
            "ended": item.ended,
            "repetition": item.repetition,
        }
        for item in answers
    ]
    return Outcome(tuple(verdict for verdict in found if verdict is not None), {"answers": rows})


def _of(answer: _Answer | None) -> str:
    return "" if answer is None else f"; see {answer.place}: {answer.text[:80]!r}"
