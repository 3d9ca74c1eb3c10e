"""Does the artifact answer as well as the model it was built from? Measured on held-out data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field, JsonValue, field_validator, model_validator
from typing_extensions import Self

from pipeline.checks.base import BaseCheck, Outcome, Role
from pipeline.checks.goals import Goal, judged, known_goals
from pipeline.data.examples import Example
from pipeline.data.spec import DataSpec
from pipeline.evaluation import Answers, Scores, answer, score
from pipeline.model import Frozen
from pipeline.onnx.verdicts import held, on_cpu
from pipeline.passes.base import Inputs, StepError
from pipeline.plan import Kind
from pipeline.result import Verdict

_METRICS: Mapping[str, bool] = {
    "accuracy": True,
    "exact_match": True,
    "macro_f1": True,
    "precision": True,
    "recall": True,
    "perplexity": False,
}
"""What a goal can be of, and whether more of it is better."""

_OF_LABELS = {"accuracy", "macro_f1", "precision", "recall"}


class QualityParams(Frozen):
    """Limits. Shares and differences of shares lie between 0 and 1: 0.02 is two points."""

    min_accuracy: float | None = Field(default=None, ge=0, le=1)
    """Least accuracy on the held-out part (share of exactly right answers where the data has no
    labels). Default: no limit."""
    max_accuracy_loss: float = Field(default=0.02, ge=0, le=1)
    """Most accuracy the artifact may lose against the merged model. Only for data with labels:
    texts of quantized models diverge after a few tokens without being worse."""
    min_valid: float = Field(default=1.0, ge=0, le=1)
    """Least share of greedy answers that are one of the labels. Only for data with labels."""
    max_perplexity_increase: float | None = Field(default=None, ge=0)
    """Most that the perplexity of the expected answers may grow against the merged model, as a
    share of it. Default: 0.1 for data without labels, no limit for data with labels."""
    max_samples: int | None = Field(default=None, ge=1)
    """Ask only the first so many held-out prompts. Default: all."""
    goals: tuple[Goal, ...] = ()
    """Goals of ``accuracy``, ``exact_match``, ``macro_f1``, ``precision`` and ``recall`` (means
    over the labels, as ``macro_f1`` is), or ``perplexity``. All but ``exact_match`` and
    ``perplexity`` need labels. Relative goals compare with the base model."""

    @field_validator("goals")
    @classmethod
    def _known(cls, goals: tuple[Goal, ...]) -> tuple[Goal, ...]:
        return known_goals(goals, _METRICS)

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        absolute = {goal.metric for goal in self.goals if not goal.is_relative}
        if self.min_accuracy is not None and absolute & {"accuracy", "exact_match"}:
            raise ValueError("min_accuracy and a goal limit the same figure; give one")
        return self

    def problems_with(self, spec: DataSpec) -> list[str]:
        """Return the goals that the data set cannot serve."""
        if spec.label is not None:
            return []
        return [
            f"a goal of {goal.metric} needs a data set with a label"
            for goal in self.goals
            if goal.metric in _OF_LABELS
        ]


_MODELS = ("base", "tuned", "artifact")

_PERPLEXITY_INCREASE = 0.1
"""int4 by round-to-nearest in blocks of 32 costs a model of some billion weights a few percent."""


class Check(BaseCheck[QualityParams]):
    """Measure base, tuned model and artifact by the same method and hold the artifact to limits."""

    Params = QualityParams
    needs: ClassVar[tuple[Role, ...]] = ("artifact", "base_answers", "tuned_answers")
    accepts: ClassVar[tuple[Kind, ...]] = ("onnx", "checkpoint", "adapter")
    does_without: ClassVar[tuple[Role, ...]] = ("base_answers", "tuned_answers")
    uses_data: ClassVar[bool] = True
    asks_held_out: ClassVar[bool] = True
    uses_device: ClassVar[bool] = True

    @classmethod
    def needs_of(
        cls,
        params: QualityParams,  # noqa: ARG003
        artifact: Kind = "onnx",
    ) -> tuple[Role, ...]:
        """Return answers alone for an artifact in PyTorch: they are the tuned model's."""
        return tuple(role for role in cls.needs if role != "artifact" or artifact == "onnx")

    def run(self, inputs: Inputs, params: QualityParams) -> Outcome:
        """Ask the artifact every held-out prompt. Raises :class:`StepError` without data.

        Without an ``artifact`` among the inputs the tuned model is the artifact, and was asked.
        """
        from pipeline.data.parts import parts_of

        examples = parts_of(inputs).eval[: params.max_samples]
        answers = {
            name: Answers.load(inputs[f"{name}_answers"]).to(examples, name)
            for name in ("base", "tuned")
            if f"{name}_answers" in inputs.paths
        }
        if "artifact" in inputs.paths:
            answers["artifact"] = _asked(inputs, examples)
        judged_one = "artifact" if "artifact" in answers else "tuned"
        if judged_one not in answers:
            raise StepError("the quality check has neither an artifact nor the tuned answers")
        scores = {name: score(given) for name, given in answers.items()}
        ours = scores[judged_one]
        evidence: dict[str, JsonValue] = {
            "quality": _report_block(ours, scores),
            "answers": answers[judged_one].model_dump(mode="json")["answers"],
        }
        verdicts = (*_absolute(params, ours), *_goals(params, ours, scores.get("base")))
        if judged_one == "artifact":
            verdicts += _losses(params, ours, scores.get("tuned"))
            if inputs.absent_device:
                verdicts = on_cpu(verdicts)
        return Outcome(verdicts, evidence)


def _asked(inputs: Inputs, examples: Sequence[Example]) -> Answers:
    from pipeline.data.tokenize import Codec
    from pipeline.onnx.session import GenAiAnswerer, Session
    from pipeline.onnx.turns import load_tokenizer

    folder = inputs["artifact"]
    session = Session(folder, inputs.threads, cpu=bool(inputs.absent_device))
    return answer(GenAiAnswerer(session), Codec(load_tokenizer(folder)), examples, inputs.report)


def _absolute(params: QualityParams, ours: Scores) -> tuple[Verdict, ...]:
    found = [
        held(
            ours.metric,
            ours.value,
            ">=",
            params.min_accuracy,
            detail=f"95 % interval {ours.low:.3f} to {ours.high:.3f}, {ours.samples} prompts",
        )
    ]
    if ours.valid is not None:
        found.append(held("valid_answers", ours.valid, ">=", params.min_valid))
    return tuple(verdict for verdict in found if verdict is not None)


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
        theirs = None if base is None else _value(base, goal.metric)
        unit = "" if goal.metric == "perplexity" else "share"
        detail = f"{ours.samples} prompts"
        verdicts.append(judged(goal, value, _METRICS[goal.metric], theirs, unit, detail))
    return tuple(verdicts)


def _value(scores: Scores, metric: str) -> float | None:
    if metric == "accuracy":
        return scores.value if scores.metric == "accuracy" else None
    value: float | None = getattr(scores, "exact" if metric == "exact_match" else metric)
    return value


def _losses(params: QualityParams, ours: Scores, tuned: Scores | None) -> tuple[Verdict, ...]:
    found: list[Verdict | None] = []
    labelled = ours.valid is not None
    increase = params.max_perplexity_increase
    if increase is None and not labelled:
        increase = _PERPLEXITY_INCREASE
    if tuned is not None:
        if labelled:
            # Shares of whole answers, so a rounding error must not decide at the limit.
            loss = round(tuned.value - ours.value, 9)
            detail = f"{tuned.value:.3f} before, {ours.value:.3f} after"
            found.append(held("accuracy_loss", loss, "<=", params.max_accuracy_loss, detail=detail))
        growth = ours.perplexity / tuned.perplexity - 1
        detail = f"{tuned.perplexity:.4f} before, {ours.perplexity:.4f} after"
        found.append(held("perplexity_increase", growth, "<=", increase, detail=detail))
    return tuple(verdict for verdict in found if verdict is not None)


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
