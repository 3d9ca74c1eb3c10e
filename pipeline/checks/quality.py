"""Does the artifact answer as well as the model it was built from? Measured on held-out data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field, JsonValue

from pipeline.checks.base import BaseCheck, Outcome, Role
from pipeline.evaluation import Answers, Scores, answer, score
from pipeline.model import Frozen
from pipeline.onnx.verdicts import held, on_cpu
from pipeline.passes.base import Inputs, StepError
from pipeline.result import Verdict


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


_MODELS = ("base", "tuned", "artifact")

_PERPLEXITY_INCREASE = 0.1
"""int4 by round-to-nearest in blocks of 32 costs a model of some billion weights a few percent."""


class Check(BaseCheck[QualityParams]):
    """Measure base, tuned model and artifact by the same method and hold the artifact to limits."""

    Params = QualityParams
    needs: ClassVar[tuple[Role, ...]] = ("artifact", "base_answers", "tuned_answers")
    does_without: ClassVar[tuple[Role, ...]] = ("base_answers", "tuned_answers")
    uses_data: ClassVar[bool] = True
    uses_device: ClassVar[bool] = True

    def run(self, inputs: Inputs, params: QualityParams) -> Outcome:
        """Ask the artifact every held-out prompt. Raises :class:`StepError` without data."""
        from pipeline.data.check import load_parts
        from pipeline.data.tokenize import Codec
        from pipeline.onnx.session import GenAiAnswerer, Session
        from pipeline.onnx.turns import load_tokenizer

        if inputs.data is None or inputs.data_path is None:
            raise StepError("the quality check needs a data set", cause="bad_input")
        examples = load_parts(inputs.data_path, inputs.data.spec).eval[: params.max_samples]
        folder = inputs["artifact"]
        answers = answer(
            GenAiAnswerer(Session(folder, inputs.threads, cpu=bool(inputs.absent_device))),
            Codec(load_tokenizer(folder)),
            examples,
            inputs.report,
        )
        lines = frozenset(example.line for example in examples)
        scores = {"artifact": score(answers)}
        for name in ("base", "tuned"):
            path = inputs.paths.get(f"{name}_answers")
            if path is not None:
                scores[name] = score(_same_prompts(path, lines, name))
        evidence: dict[str, JsonValue] = {
            "quality": _report_block(scores),
            "answers": answers.model_dump(mode="json")["answers"],
        }
        verdicts = _verdicts(params, scores)
        return Outcome(on_cpu(verdicts) if inputs.absent_device else verdicts, evidence)


def _same_prompts(folder: Path, lines: frozenset[int], name: str) -> Answers:
    """Return the answers of an ``evaluate`` pass to exactly the prompts asked here."""
    answers = Answers.load(folder)
    kept = tuple(row for row in answers.answers if row.line in lines)
    if len(kept) != len(lines):
        raise StepError(
            f"the {name} model answered {len(kept)} of the {len(lines)} held-out prompts; "
            "the two would not be measured on the same data"
        )
    return answers.model_copy(update={"answers": kept})


def _verdicts(params: QualityParams, scores: Mapping[str, Scores]) -> tuple[Verdict, ...]:
    ours, tuned = scores["artifact"], scores.get("tuned")
    labelled = ours.valid is not None
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


def _report_block(scores: Mapping[str, Scores]) -> dict[str, JsonValue]:
    """Return the ``quality`` block of the report: one value per model, and the figures behind."""
    ours = scores["artifact"]
    return {
        "metric": ours.metric,
        "samples": ours.samples,
        **{name: scores[name].value if name in scores else None for name in _MODELS},
        "chance": ours.chance,
        "majority": ours.majority,
        "interval": [ours.low, ours.high],
        "details": {name: item.model_dump(mode="json") for name, item in scores.items()},
    }
