"""Checks on held-out data that the artifact answers as well as the model it was built from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pydantic import Field, JsonValue, field_validator, model_validator
from typing_extensions import Self

from pipeline.builder.remedies import with_remedies
from pipeline.checks._constrained import ConstrainedAnswers, constrained_answers
from pipeline.checks._general import MAX_INCREASE, general_verdicts
from pipeline.checks.base import BaseCheck, Outcome
from pipeline.contract.data_spec import DataSpec
from pipeline.contract.errors import StepError
from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind
from pipeline.contract.result import Verdict
from pipeline.contract.roles import Role
from pipeline.contract.step import Inputs
from pipeline.data.constraint import constraint_of
from pipeline.evaluation.general import Reading
from pipeline.evaluation.scores import Answer, Answers, Scores, answer, score
from pipeline.evaluation.structured import is_json, matches
from pipeline.statistics.paired import compare_paired
from pipeline.verdicts.goals import Goal, goal_verdict, validated_goals
from pipeline.verdicts.verdicts import limit_verdict, marked_as_on_cpu

if TYPE_CHECKING:
    from pipeline.data.examples import Example

_METRICS: Mapping[str, bool] = {
    "accuracy": True,
    "exact_match": True,
    "macro_f1": True,
    "precision": True,
    "recall": True,
    "perplexity": False,
}
"""The figures that goals can be about, and whether higher is better."""

_OF_LABELS = {"accuracy", "macro_f1", "precision", "recall"}


class QualityParams(Frozen):
    """Limits. Shares and their differences are between 0 and 1: 0.02 is two percentage points."""

    min_accuracy: float | None = Field(default=None, ge=0, le=1)
    """Lowest accuracy on the held-out part (share of exactly right answers if the data has no
    labels). Default: no limit."""
    max_accuracy_loss: float = Field(default=0.02, ge=0, le=1)
    """How much accuracy the artifact may lose against the float model. Only for data with labels:
    texts of quantized models diverge after a few tokens without being worse."""
    min_p_value: float | None = Field(default=None, ge=0, le=1)
    """Smallest p-value of the exact McNemar test against the float model on the same prompts, if
    the artifact lost more of them than it won. A smaller p-value means that the loss is hardly due
    to chance, however small it is. Only for data with labels. Default: none, because with much data
    even a loss that ``max_accuracy_loss`` allows is significant; the p-value is reported in any
    case."""
    min_valid: float = Field(default=1.0, ge=0, le=1)
    """Smallest share of greedy answers of the right form: one of the labels if the data has labels,
    and as ``json_answers`` and ``answer_pattern`` require."""
    json_answers: bool = False
    """Answers must be JSON."""
    required_keys: tuple[str, ...] = ()
    """Answers must be JSON objects with these keys."""
    answer_pattern: str | None = None
    """Answers must match this regular expression (Python's), from beginning to end."""
    max_perplexity_increase: float | None = Field(default=None, ge=0)
    """By which share the perplexity of the expected answers may exceed the float model's.
    Default: 0.1 for data without labels, no limit for data with labels."""
    max_tuning_loss: float = Field(default=0.1, ge=0, le=1)
    """How much accuracy (share of exactly right answers if the data has no labels) the tuned model
    may lose against its base: a fine-tune that ruins the model fails."""
    max_tuning_perplexity_increase: float = Field(default=1.0, ge=0)
    """By which share the perplexity of the expected answers may exceed the base model's after
    fine-tuning. Only for data without labels."""
    max_general_perplexity_increase: float = Field(default=MAX_INCREASE, ge=0)
    """By which share the perplexity of plain English, a text that comes with Quern, may exceed the
    base model's after fine-tuning: beyond ten times, by default, the model has lost what its task
    does not need. Not judged where the base itself cannot read it."""
    min_length_ratio: float = Field(default=0.5, ge=0)
    """Smallest mean length of the artifact's answers, in tokens, as a share of the float model's.
    """
    max_length_ratio: float = Field(default=2.0, gt=0)
    """Largest mean length of the artifact's answers, as a share of the float model's."""
    max_samples: int | None = Field(default=None, ge=1)
    """Number of held-out prompts, from the first one on. Default: all."""
    goals: tuple[Goal, ...] = ()
    """Goals of ``accuracy``, ``exact_match``, ``macro_f1``, ``precision`` and ``recall`` (means
    over the labels, like ``macro_f1``), or ``perplexity``. All but ``exact_match`` and
    ``perplexity`` need labels. Relative goals compare with the base model."""

    @field_validator("goals")
    @classmethod
    def _known(cls, goals: tuple[Goal, ...]) -> tuple[Goal, ...]:
        return validated_goals(goals, _METRICS)

    @field_validator("answer_pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"this is not a regular expression: {error}") from error
        return pattern

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        absolute = {goal.metric for goal in self.goals if not goal.is_relative}
        if self.min_accuracy is not None and absolute & {"accuracy", "exact_match"}:
            raise ValueError("min_accuracy and a goal limit the same figure; give one")
        return self

    def problems_with(self, spec: DataSpec) -> list[str]:
        """Return a message for each goal that the data set does not support."""
        if spec.label is not None:
            return []
        return [
            f"a goal of {goal.metric} needs a data set with a label"
            for goal in self.goals
            if goal.metric in _OF_LABELS
        ]


_MODELS = ("base", "tuned", "artifact")

_MOST_WRONG = 100
"""Wrong answers that the report has."""
_LONGEST_TEXT = 500
"""Characters of a prompt or an answer that it has."""

_PERPLEXITY_INCREASE = 0.1
"""int4, rounded to nearest in blocks of 32, increases the perplexity of a model with a few billion
weights by a few percent."""


class Check(BaseCheck[QualityParams]):
    """Score base, tuned model and artifact by the same method, and compare the artifact with the
    limits.

    Losses are relative to the float model on the same prompts: the unquantized export if the
    ``float_reference`` pass made one, else the merged model in PyTorch. All are asked freely. Where
    the data set has ``constrain``, the artifact is asked once more with that, and ``min_valid`` is
    about those answers: each must end and have the form.
    """

    Params = QualityParams
    needs: ClassVar[tuple[Role, ...]] = (
        *("artifact", "base_answers", "tuned_answers", "float_reference"),
    )
    accepts: ClassVar[tuple[Kind, ...]] = ("onnx", "checkpoint", "adapter")
    optional_needs: ClassVar[tuple[Role, ...]] = (
        *("base_answers", "tuned_answers", "float_reference"),
    )
    uses_data: ClassVar[bool] = True
    heeds_constraint: ClassVar[bool] = True
    resumes: ClassVar[bool] = True
    needs_held_out: ClassVar[bool] = True
    uses_device: ClassVar[bool] = True

    @classmethod
    def needs_of(
        cls,
        params: QualityParams,  # noqa: ARG003
        artifact: Kind = "onnx",
    ) -> tuple[Role, ...]:
        """Return only answers for an artifact in PyTorch, since it is the tuned model itself."""
        built: tuple[Role, ...] = ("artifact", "float_reference")
        return tuple(role for role in cls.needs if role not in built or artifact == "onnx")

    def run(self, inputs: Inputs, params: QualityParams) -> Outcome:
        """Score the artifact's answers to the held-out prompts. Raises :class:`StepError` without
        data.

        If the inputs have no ``artifact``, it is the tuned model, whose answers are there already.
        """
        from pipeline.data.parts import parts_of

        examples = list(parts_of(inputs).eval[: params.max_samples])
        answers = {
            name: Answers.load(inputs[f"{name}_answers"]).to(examples, name)
            for name in ("base", "tuned")
            if f"{name}_answers" in inputs.paths
        }
        verdicts: tuple[Verdict, ...] = ()
        held: ConstrainedAnswers | None = None
        if "artifact" in inputs.paths:
            answers["artifact"], held, same_ids = _artifact_answers(
                inputs, examples, answers.get("tuned")
            )
            verdicts += (same_ids,)
        judged_one = "artifact" if "artifact" in answers else "tuned"
        if judged_one not in answers:
            raise StepError("the quality check has neither an artifact nor the tuned answers")
        scores = {name: score(of_model) for name, of_model in answers.items()}
        ours = scores[judged_one]
        forms = {name: _well_formed_share(params, of_model) for name, of_model in answers.items()}
        if held is not None:
            forms["constrained"] = _well_formed_share(params, held.answers)
            verdicts += (held.verdict(params.min_valid, answers[judged_one]),)
        given = judged_one if held is None else "constrained"
        verdicts += (
            *_absolute(params, ours, forms[given], held is None),
            *_goals(params, ours, scores.get("base")),
        )
        readings: dict[str, Reading] = {
            name: reading
            for name in ("base", "tuned")
            if name in answers and (reading := Reading.load(inputs[f"{name}_answers"])) is not None
        }
        if "base" in answers and "tuned" in answers:
            verdicts += _tuning_verdicts(params, answers["tuned"], answers["base"])
            limit = params.max_general_perplexity_increase
            verdicts += general_verdicts(readings.get("base"), readings.get("tuned"), limit)
        block = _report_block(ours, scores)
        block["general_perplexity"] = {name: one.perplexity for name, one in readings.items()}
        block["wrong"] = [*_wrong(answers[judged_one], examples)][:_MOST_WRONG]
        if any(forms.values()):
            block["well_formed"] = {name: dict(shares) for name, shares in forms.items()}
        if judged_one == "artifact":
            theirs = _float_answers(inputs, examples, answers.get("tuned"))
            if theirs is not None:
                compared, figures = _loss_verdicts(params, answers["artifact"], theirs)
                verdicts += with_remedies(compared, inputs.metrics.get("artifact", {}))
                block |= figures
            if inputs.absent_device:
                verdicts = marked_as_on_cpu(verdicts)
        rows = answers[judged_one].model_dump(mode="json")["answers"]
        if held is not None:
            block["constrained"] = held.figures()
            for row, own in zip(rows, held.answers.answers, strict=True):
                row["constrained"] = own.greedy
        return Outcome(verdicts, {"quality": block, "answers": rows})


def _artifact_answers(
    inputs: Inputs, examples: Sequence[Example], tuned: Answers | None
) -> tuple[Answers, ConstrainedAnswers | None, Verdict]:
    """Return the artifact's answers, with the same token limit as the merged model's; those that
    the data set's constraint holds; and whether the runtime's tokenizer asks it what the others
    were asked."""
    from pipeline.data.tokenizer import load_artifact_tokenizer
    from pipeline.onnx.answerer import GenAiAnswerer
    from pipeline.onnx.artifact_codec import ArtifactCodec
    from pipeline.onnx.guided import Guided
    from pipeline.onnx.session import Session
    from pipeline.verdicts.verdicts import problem_verdict

    folder = inputs["artifact"]
    session = Session(folder, inputs.threads, cpu=bool(inputs.absent_device))
    codec = ArtifactCodec(load_artifact_tokenizer(folder), session)
    limit = None if tuned is None else tuned.max_new_tokens
    answers = answer(
        GenAiAnswerer(session), codec, examples, inputs.report, limit, inputs.unfinished
    )
    constraint = constraint_of(inputs.data.spec if inputs.data else None)
    held = None
    if constraint is not None:
        guided = Guided(session, codec, constraint)
        held = constrained_answers(guided, examples, answers, inputs.report)
    fine = f"{len(examples)} prompts have the ids that the model was tuned and measured with"
    return answers, held, problem_verdict("prompt_ids", codec.prompt_problems(examples), fine)


class _FloatAnswers(NamedTuple):
    """The answers of the float model that the artifact is compared with."""

    answers: Answers
    name: str


def _float_answers(
    inputs: Inputs, examples: Sequence[Example], tuned: Answers | None
) -> _FloatAnswers | None:
    from pipeline.onnx.float_export import float_answers

    exported = float_answers(inputs)
    if exported is not None:
        return _FloatAnswers(exported.to(examples, "float"), "float export")
    return None if tuned is None else _FloatAnswers(tuned, "merged model")


def _well_formed_share(params: QualityParams, answers: Answers) -> dict[str, float]:
    """Return the share of greedy answers that have each required form."""
    tests: dict[str, Callable[[str], bool]] = {}
    if params.json_answers or params.required_keys:
        tests["valid_json"] = partial(is_json, keys=params.required_keys)
    if params.answer_pattern is not None:
        tests["pattern_matches"] = partial(matches, pattern=params.answer_pattern)
    texts = [row.greedy for row in answers.answers]
    return {name: sum(map(test, texts)) / len(texts) for name, test in tests.items()}


def _absolute(
    params: QualityParams, ours: Scores, forms: Mapping[str, float], free: bool
) -> tuple[Verdict, ...]:
    verdicts = [
        limit_verdict(
            ours.metric,
            ours.value,
            ">=",
            params.min_accuracy,
            detail=f"95 % interval {ours.low:.3f} to {ours.high:.3f}, {ours.samples} prompts",
        )
    ]
    if ours.valid is not None and free:
        verdicts.append(limit_verdict("valid_answers", ours.valid, ">=", params.min_valid))
    verdicts += [
        limit_verdict(name, share, ">=", params.min_valid) for name, share in forms.items()
    ]
    return tuple(verdict for verdict in verdicts if verdict is not None)


def _goals(params: QualityParams, ours: Scores, base: Scores | None) -> tuple[Verdict, ...]:
    verdicts = []
    for goal in params.goals:
        value = _value(ours, goal.metric)
        if value is None:
            raise StepError(
                f"this data set has no {goal.metric}: its answers do not tell classes apart",
                "set label, and a completion that depends on it",
                "bad_input",
            )
        base_value = None if base is None else _value(base, goal.metric)
        unit = "" if goal.metric == "perplexity" else "share"
        detail = f"{ours.samples} prompts"
        verdicts.append(goal_verdict(goal, value, _METRICS[goal.metric], base_value, unit, detail))
    return tuple(verdicts)


def _value(scores: Scores, metric: str) -> float | None:
    if metric == "accuracy":
        return scores.value if scores.metric == "accuracy" else None
    value: float | None = getattr(scores, "exact" if metric == "exact_match" else metric)
    return value


def _tuning_verdicts(params: QualityParams, tuned: Answers, base: Answers) -> tuple[Verdict, ...]:
    """Return the verdicts on what fine-tuning did to the answers that it was for."""
    test = compare_paired(tuned.right, base.right)
    before, after = score(base), score(tuned)
    # Shares of whole answers, so a rounding error must not decide at the limit.
    loss = round(before.value - after.value, 9)
    detail = (
        f"{before.value:.3f} of the base model, {after.value:.3f} of the tuned one: {test.won} won "
        f"and {test.lost} lost of {test.items}, p {test.p_value:.2g} (McNemar)"
    )
    if loss > params.max_tuning_loss:
        detail += "; look at the loss in the report: learning_rate and steps decide it"
    verdicts = [limit_verdict("tuning_loss", loss, "<=", params.max_tuning_loss, detail=detail)]
    if not tuned.choices:
        growth = after.perplexity / before.perplexity - 1
        limit = params.max_tuning_perplexity_increase
        detail = f"{before.perplexity:.4f} of the base model, {after.perplexity:.4f} of the tuned"
        verdicts.append(limit_verdict("tuning_perplexity", growth, "<=", limit, detail=detail))
    return tuple(verdicts)


def _loss_verdicts(
    params: QualityParams, ours: Answers, theirs: _FloatAnswers
) -> tuple[tuple[Verdict, ...], dict[str, JsonValue]]:
    """Return the verdicts on the artifact's loss relative to the float model, and the figures."""
    test = compare_paired(ours.right, theirs.answers.right)
    before, after = score(theirs.answers), score(ours)
    growth = after.perplexity / before.perplexity - 1
    verdicts: list[Verdict | None] = []
    increase = params.max_perplexity_increase
    if ours.choices:
        # Shares of whole answers, so a rounding error must not decide at the limit.
        loss = round(before.value - after.value, 9)
        counted = (
            f"{test.won} won and {test.lost} lost of {test.items}: accuracy changes by "
            f"{test.difference:+.3f} ({test.low:+.3f} to {test.high:+.3f}), "
            f"p {test.p_value:.2g} (McNemar)"
        )
        detail = f"{before.value:.3f} of the {theirs.name}, {after.value:.3f} after; {counted}"
        verdicts.append(
            limit_verdict("accuracy_loss", loss, "<=", params.max_accuracy_loss, detail=detail)
        )
        # A significant improvement is no fault.
        chance = test.p_value if test.lost > test.won else 1.0
        verdicts.append(limit_verdict("paired_test", chance, ">=", params.min_p_value, "", counted))
    elif increase is None:
        increase = _PERPLEXITY_INCREASE
    detail = f"{before.perplexity:.4f} of the {theirs.name}, {after.perplexity:.4f} after"
    verdicts.append(limit_verdict("perplexity_increase", growth, "<=", increase, detail=detail))
    lengths = theirs.answers.mean_length, ours.mean_length
    detail = f"{lengths[0]:.1f} tokens of the {theirs.name}, {lengths[1]:.1f} after"
    ratio = lengths[1] / lengths[0] if lengths[0] else 1.0
    least = limit_verdict("length_ratio", ratio, ">=", params.min_length_ratio, "times", detail)
    most = limit_verdict("length_ratio", ratio, "<=", params.max_length_ratio, "times", detail)
    verdicts.append(least if least.status == "failed" else most)
    figures: dict[str, JsonValue] = {
        "against": theirs.name,
        "paired": {
            "won": test.won,
            "lost": test.lost,
            "p_value": test.p_value,
            "low": test.low,
            "high": test.high,
        },
        "length_ratio": ratio,
    }
    return tuple(verdict for verdict in verdicts if verdict is not None), figures


def _wrong(answers: Answers, examples: Sequence[Example]) -> Iterator[JsonValue]:
    """Yield what was asked, and answered wrongly, with its place in the data."""
    asked = {(example.file, example.line): example for example in examples}
    for row, right in zip(answers.answers, answers.right, strict=True):
        if not right:
            yield _wrong_answer(row, asked[row.file, row.line])


def _wrong_answer(row: Answer, example: Example) -> JsonValue:
    expected = row.expected if row.choice is None else row.label
    return {
        "place": example.place,
        "asked": example.text[-_LONGEST_TEXT:],
        "expected": (expected or "")[:_LONGEST_TEXT],
        "greedy": row.greedy[:_LONGEST_TEXT],
        "choice": row.choice,
    }


def _report_block(ours: Scores, scores: Mapping[str, Scores]) -> dict[str, JsonValue]:
    """Return the ``quality`` block of the report: one value per model, and the figures behind."""
    return {
        "metric": ours.metric,
        "samples": ours.samples,
        **{name: scores[name].value if name in scores else None for name in _MODELS},
        "chance": ours.chance,
        "majority": ours.majority,
        "interval": [ours.low, ours.high],
        "details": {name: item.model_dump(mode="json") for name, item in scores.items()},
    }
