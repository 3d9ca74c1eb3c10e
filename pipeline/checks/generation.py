"""Checks that generated answers end, are not empty, and do not repeat themselves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, JsonValue

from pipeline.checks.base import BaseCheck, Outcome
from pipeline.contract.errors import StepError
from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind
from pipeline.contract.result import Verdict
from pipeline.contract.roles import Role
from pipeline.contract.step import Inputs
from pipeline.data.constraint import constraint_of
from pipeline.evaluation.fluency import MAX_REPETITION, is_broken, repetition
from pipeline.evaluation.scores import Answers, Reply, greedy
from pipeline.verdicts.verdicts import limit_verdict, marked_as_on_cpu, unverified

if TYPE_CHECKING:
    from pipeline.data.examples import Example

_ON_PROVIDER = "generates_on_provider"
_AS_IT_IS = 8
"""How many prompts are also answered with the artifact's own search settings."""

Share = Annotated[float, Field(ge=0, le=1)]

_MORE_TOKENS = 16
"""Tokens that an answer may have beyond twice the longest expected one."""
_LEAST_ENDED = 0.9
"""Share of answers that must end if the data has no labels."""
AS_TUNED = "as_tuned"
AsTuned = Literal["as_tuned"]


class GenerationParams(Frozen):
    """How much is generated, and the limits. Shares are between 0 and 1. The limit ``"as_tuned"``
    is the share of the merged model on the same prompts with the same number of tokens: after a
    short fine-tune answers may never end, which is not the artifact's fault."""

    samples: int = Field(default=32, ge=1)
    """How many held-out prompts are answered, from the first one on."""
    max_new_tokens: int | None = Field(default=None, ge=1)
    """Tokens after which an answer counts as never ending. Default: 16 more than twice the longest
    expected answer; with a limit ``"as_tuned"``, as many as the merged model was given."""
    min_ended: Share | AsTuned | None = None
    """Smallest share of answers that must end by themselves. Default: 1 for data with labels, else
    0.9."""
    max_degenerate: Share | AsTuned = 0.0
    """Largest share of answers that may repeat themselves: more than half of their runs of four
    tokens occurred before (seq-rep-4 of Welleck et al. 2020 above 0.5, in answers of 15 tokens and
    more)."""
    max_broken: Share | AsTuned = 0.0
    """Largest share of answers that may be empty or hold bytes that are not a character."""
    tolerance: Share = 0.1
    """By which share of the prompts the artifact may be worse than a limit ``"as_tuned"``. With few
    prompts, where chance alone makes a larger difference, it is two standard errors of the share.
    """

    @property
    def as_tuned(self) -> bool:
        """Return whether the merged model's answers are needed."""
        return AS_TUNED in (self.min_ended, self.max_degenerate, self.max_broken)


@dataclass(frozen=True)
class _Answer:
    place: str
    line: int
    text: str
    tokens: int
    ended: bool
    repetition: float
    broken: bool

    @property
    def degenerate(self) -> bool:
        """Return whether it repeats itself too much."""
        return self.repetition > MAX_REPETITION


class Check(BaseCheck[GenerationParams]):
    """Let the artifact answer held-out prompts freely, well past the length of a good answer. Some
    are answered once more with the artifact's own search settings, which its users get. Where the
    data set has ``constrain``, it judges the answers that this holds.

    Without the target's device it answers through the CPU provider, and the behaviour on the device
    remains unverified.
    """

    Params = GenerationParams
    uses_data: ClassVar[bool] = True
    heeds_constraint: ClassVar[bool] = True
    needs_held_out: ClassVar[bool] = True
    uses_device: ClassVar[bool] = True

    @classmethod
    def needs_of(
        cls,
        params: GenerationParams,
        artifact: Kind = "onnx",  # noqa: ARG003
    ) -> tuple[Role, ...]:
        """Return the roles; with a limit ``"as_tuned"``, ``tuned_answers`` among them."""
        return ("artifact", "tuned_answers") if params.as_tuned else ("artifact",)

    def run(self, inputs: Inputs, params: GenerationParams) -> Outcome:
        """Generate answers and compare with the limits. Raises :class:`StepError` without data."""
        from pipeline.data.parts import parts_of
        from pipeline.data.tokenizer import load_artifact_tokenizer
        from pipeline.onnx.answerer import GenAiAnswerer
        from pipeline.onnx.artifact_codec import ArtifactCodec
        from pipeline.onnx.guided import Guided
        from pipeline.onnx.session import Session

        examples = list(parts_of(inputs).eval[: params.samples])
        session = Session(inputs["artifact"], inputs.threads, cpu=bool(inputs.absent_device))
        codec = ArtifactCodec(load_artifact_tokenizer(inputs["artifact"]), session)
        tuned = None
        if params.as_tuned:
            tuned = Answers.load(inputs["tuned_answers"])
            # [evaluation] may use fewer prompts than this check.
            answered_rows = {(row.file, row.line) for row in tuned.answers}
            examples = [item for item in examples if (item.file, item.line) in answered_rows]
            tuned = tuned.to(examples, "tuned")
            limit = _same_budget(params, tuned)
        else:
            longest = max(len(codec.completion_ids(item.completion, item)) for item in examples)
            limit = params.max_new_tokens or 2 * longest + _MORE_TOKENS
        answers, replies = {}, {}
        answerer = GenAiAnswerer(session)
        constraint = constraint_of(inputs.data.spec if inputs.data else None)
        free = examples if constraint is None else examples[:_AS_IT_IS]
        prompts = [codec.prompt_ids(example) for example in free]
        for number, reply in greedy(answerer, prompts, limit):
            replies[number] = reply.ids
            answers[number] = _answer(examples[number], reply, codec.answer_text)
            inputs.report.progress(len(answers), len(examples), "prompts")
        if constraint is not None:
            guided = Guided(session, codec, constraint)
            for number, example in enumerate(examples):
                answers[number] = _answer(example, guided.reply(example, limit), guided.text)
                inputs.report.progress(number + 1, len(examples), "prompts")
        labelled = all(example.choices for example in examples)
        limits = _limits(params, 1.0 if labelled else _LEAST_ENDED, tuned)
        rows = [answers[number] for number in range(len(examples))]
        outcome = _outcome(rows, limits, limit)
        own = [answerer.untouched(ids, limit).ids for ids in prompts[:_AS_IT_IS]]
        same = _own_settings(inputs, [replies[number] for number in range(len(own))], own)
        outcome = Outcome((*outcome.verdicts, *same), outcome.evidence)
        if inputs.absent_device:
            waiting = unverified(_ON_PROVIDER, inputs.absent_device)
            return Outcome((*marked_as_on_cpu(outcome.verdicts), waiting), outcome.evidence)
        # An empty answer still has one token: the end token.
        answered = sum(item.tokens > 0 or item.ended for item in rows) / len(rows)
        on_provider = limit_verdict(
            _ON_PROVIDER, answered, ">=", 1.0, detail="prompts that got a token"
        )
        return Outcome((*outcome.verdicts, on_provider), outcome.evidence)


def _answer(
    example: Example, reply: Reply, text_of: Callable[[Sequence[int], Example], str]
) -> _Answer:
    text = text_of(reply.ids, example)
    return _Answer(
        example.place,
        example.line,
        text,
        len(reply.ids),
        reply.ended,
        repetition(reply.ids),
        is_broken(text, example.completion, reply.ended),
    )


@dataclass(frozen=True)
class _Limit:
    """A limit, and its source if that is not the config."""

    share: float
    source: str = ""


@dataclass(frozen=True)
class _Limits:
    ended: _Limit
    degenerate: _Limit
    broken: _Limit


def _same_budget(params: GenerationParams, tuned: Answers) -> int:
    """Return the token limit of the merged model's answers, to be used for the artifact's too.

    Raises :class:`StepError` if ``params`` ask for another one.
    """
    if params.max_new_tokens not in (None, tuned.max_new_tokens):
        raise StepError(
            f"the merged model was given {tuned.max_new_tokens} tokens per answer, this check "
            f"gives {params.max_new_tokens}: the two cannot be compared",
            "set max_new_tokens in [evaluation] alone",
            "bad_input",
        )
    return tuned.max_new_tokens


def _limits(params: GenerationParams, ended_default: float, tuned: Answers | None) -> _Limits:
    rows = () if tuned is None else tuned.answers
    min_ended = ended_default if params.min_ended is None else params.min_ended
    circling = [row.repetition > MAX_REPETITION for row in rows]
    broken = [is_broken(row.greedy, row.expected, row.ended) for row in rows]
    return _Limits(
        _limit(min_ended, [row.ended for row in rows], params.tolerance, least=True),
        _limit(params.max_degenerate, circling, params.tolerance),
        _limit(params.max_broken, broken, params.tolerance),
    )


def _limit(
    requested: float | AsTuned, reference: Sequence[bool], tolerance: float, least: bool = False
) -> _Limit:
    if requested != AS_TUNED:
        return _Limit(float(requested))
    share = sum(reference) / len(reference)
    chance = 2 * math.sqrt(share * (1 - share) / len(reference))
    worse = max(tolerance, chance) * (-1 if least else 1)
    # Shares of whole answers, so a rounding error must not decide at the limit.
    limit = min(max(round(share + worse, 9), 0.0), 1.0)
    return _Limit(limit, f"; of the merged model's: {share:.1%}")


def _outcome(answers: Sequence[_Answer], limits: _Limits, budget: int) -> Outcome:
    count = len(answers)
    ended = sum(item.ended for item in answers) / count
    circling = [item for item in answers if item.degenerate]
    broken = [item for item in answers if item.broken]
    open_ended = next((item for item in answers if not item.ended), None)
    verdicts = (
        limit_verdict(
            "answers_end",
            ended,
            ">=",
            limits.ended.share,
            detail=f"within {budget} tokens{limits.ended.source}{_of(open_ended)}",
        ),
        limit_verdict(
            "degenerate_answers",
            len(circling) / count,
            "<=",
            limits.degenerate.share,
            detail=f"{len(circling)} of {count}{limits.degenerate.source}"
            f"{_of(circling[0] if circling else None)}",
        ),
        limit_verdict(
            "broken_answers",
            len(broken) / count,
            "<=",
            limits.broken.share,
            detail=f"{len(broken)} of {count}{limits.broken.source}"
            f"{_of(broken[0] if broken else None)}",
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
    return Outcome(verdicts, {"answers": rows})


def _own_settings(
    inputs: Inputs, greedy: Sequence[Sequence[int]], own: Sequence[Sequence[int]]
) -> tuple[Verdict, ...]:
    """Return the verdict on answers with the artifact's own search settings: they are those of the
    greedy search, unless another search was asked for, of which nothing can be said."""
    from pipeline.onnx.genai_config import GenAiConfig

    recorded = inputs.metrics.get("artifact", {})
    asked = recorded.get("search", GenAiConfig(inputs["artifact"]).raw.get("search"))
    if isinstance(asked, dict) and _is_other_search(asked):
        return ()
    same = sum(list(ours) == list(theirs) for ours, theirs in zip(own, greedy, strict=False))
    detail = f"{same} of {len(own)} are those of the greedy search"
    return (limit_verdict("own_settings", same / len(own), ">=", 1.0, detail=detail),)


def _is_other_search(search: Mapping[str, Any]) -> bool:
    """Return whether answers with these settings may be others than those of the greedy search."""
    beams, shortest = search.get("num_beams", 1), search.get("min_length", 0)
    return bool(search.get("do_sample")) or beams != 1 or shortest != 0


def _of(answer: _Answer | None) -> str:
    return "" if answer is None else f"; see {answer.place}: {answer.text[:80]!r}"
