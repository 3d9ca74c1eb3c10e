"""Checks the error of quantization: of predictions, and of each matrix."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field, JsonValue

from pipeline.checks.base import BaseCheck, Outcome
from pipeline.contract.frozen import Frozen
from pipeline.contract.result import Verdict
from pipeline.contract.roles import Role
from pipeline.contract.schema import Size, parse_bytes
from pipeline.contract.step import Inputs


@dataclass(frozen=True)
class _Limits:
    mean_kl: float
    p99_kl: float
    agreement: float
    scale_error: float
    weight_error: float


_IN_ITS_DEPTH = 0.25
"""How much of a long text a model must predict: the mean probability of the next token.

Small models that know a few short rows by heart and nothing else predict a twentieth of it. Where
they guess, rounding turns one guess into another, by 1.8 nats in healthy builds (``bench-checks``).
A real model predicts most of it, since the text repeats itself."""

_BITS_OF_ACTIVATIONS = 8
"""Bits to which the runtime rounds activations. Weights of fewer bits cost far more than that: run
and weights can be told apart. With others the divergence itself has a limit that is as near."""

_LEAST_COST = 0.005
"""Nats that rounding the weights is taken to cost at least. Texts that a model knows by heart cost
it next to nothing, and rounding activations costs a little too."""

_MOST = 2
"""By how much nearer the 95 % of the positions must be that differ least. In a small model the
others decide about the mean: rounding, of the inputs of products too, turns a guess into another
there, by 0.13 nats in healthy builds of Nemotron. What a graph computes otherwise is so at all."""

_FLOAT = _Limits(0.01, 0.05, 0.95, 0.01, 0.02)
_BY_BITS: Mapping[int, _Limits] = {
    4: _Limits(0.25, 2.5, 0.5, 0.03, 0.25),
    8: _Limits(0.01, 0.1, 0.9, 0.005, 0.02),
    16: _FLOAT,
    32: _FLOAT,
}
"""By bits per weight: what keeps a model's answers keeps them, and what loses some does not.

SmolLM2-135M, a real model, in int4 as shipped has 0.22 nats, 0.07 for the long text, 1.68 nats and
an agreement of 0.82, and loses 0.9 points of accuracy; by the builder's own algorithm 0.26 nats and
4.4 points, in blocks of 128 0.35 and 5.0; in int8 0.005 nats. Faults of a whole kind (norms,
positions, the scale of attention) begin at 0.26; smaller ones ``rebuild`` and ``graph`` find, which
need no limit. Small models of all families (``bench-checks``) stay below 0.06 nats and say most
about matrices: 0.009 and 0.12 at worst, of which the limits are a few times as much."""


_CHOSEN = 2
"""How much wider the limit of the scale is where a pass chose the integers.

It cuts off weights whose inputs are small, and what it makes up for depends on the others, so that
the slope of the regression is lower in healthy builds: 0.985 in the middle of SmolLM2-135M's
matrices, 0.956 at worst. The scale is taken as the nearer end of what it can be: 0.971 at worst."""


class QuantizationParams(Frozen):
    """Limits. Their defaults depend on the bits per weight."""

    max_mean_kl: float | None = Field(default=None, gt=0)
    """Largest divergence ``KL(float || artifact)`` of the next token, as the mean over positions,
    in nats. Default: 0.25 for int4, 0.01 for int8. Also the limit for a text of more than 2,048
    tokens, if the float model predicts a quarter of it or more: there half of the positions must
    keep it, or where ``max_run_share`` cannot be measured, the mean."""
    max_p99_kl: float | None = Field(default=None, gt=0)
    """The same for its 99th percentile. Default: 2.5 for int4, 0.1 for int8."""
    min_top1_agreement: float | None = Field(default=None, ge=0, le=1)
    """Smallest share of positions that must have the float model's first choice. Default: 0.5 for
    int4, 0.9 for int8: a first choice with a small margin changes easily."""
    max_scale_error: float | None = Field(default=None, gt=0)
    """By how much the scale of a matrix may differ from the checkpoint's. Default: 0.03 for int4,
    0.005 for int8; twice as much where a pass chose the integers, as gptq does."""
    max_weight_error: float | None = Field(default=None, gt=0)
    """Largest relative error of a matrix, in the Frobenius norm. Default: 0.25 for int4, 0.02 for
    int8."""
    max_run_share: float = Field(default=0.2, gt=0)
    """How far the artifact may be from transformers' model with the artifact's own weights, as a
    share of how far these are from the float ones: by the divergences of usual texts, and of one of
    more than 2,048 tokens. Rounding weights is not in it, only the graph and the runtime. Where it
    is less, it is twice the share of the 95 % of the positions that differ least."""
    max_export: Annotated[int, Field(ge=0)] | Size = "4g"
    """Size in fp32 above which no float export is built to compare with: bytes, or text such as
    ``"16g"``. Building one takes about five times as much memory. Above it the artifact is compared
    with the merged model in PyTorch, so that conversion and quantization are measured together."""


class Check(BaseCheck[QuantizationParams]):
    """Compare the artifact's predictions for the same texts with those of the float export and of
    transformers' model with the artifact's own weights, and every matrix of its graph with the rows
    of the checkpoint that it was made from.

    The first says what quantizing loses. In the second no weight is rounded, so that a graph that
    computes something else shows, however much a model loses. The matrices reveal a wrong scale in
    one layer, or two swapped projections, even if the predictions hardly change. The artifact runs
    through the CPU provider.
    """

    Params = QuantizationParams
    needs: ClassVar[tuple[Role, ...]] = (
        "artifact",
        "reference",
        "float_reference",
        "model",
        "integers",
    )
    optional_needs: ClassVar[tuple[Role, ...]] = ("float_reference", "model", "integers")
    uses_device: ClassVar[bool] = True

    @classmethod
    def export_of(cls, params: QuantizationParams) -> dict[str, JsonValue]:
        """Return ``max_export``, the size up to which a float export is built."""
        max_export = params.max_export
        return {
            "max_export": max_export if isinstance(max_export, int) else parse_bytes(max_export)
        }

    def run(self, inputs: Inputs, params: QuantizationParams) -> Outcome:
        """Compare predictions and matrices. A graph that cannot be read fails the check."""
        from pipeline.contract.errors import ArtifactError, BeyondCpuError
        from pipeline.onnx.genai_config import GenAiConfig
        from pipeline.onnx.graph import OnnxModel
        from pipeline.onnx.quantized import linear_layers
        from pipeline.verdicts.verdicts import problem_verdict, unusable

        folder = inputs["artifact"]
        try:
            model = OnnxModel(folder / GenAiConfig(folder).filename)
        except ValueError as error:
            return Outcome((problem_verdict("graph_readable", [str(error)], ""),))
        bits = min((layer.bits for layer in linear_layers(model)), default=32)
        weights, layers = _matrices(inputs, params, model)
        try:
            predictions, figures = _predictions(inputs, params, model, bits)
        except (ArtifactError, BeyondCpuError) as error:
            predictions, figures = (unusable("mean_kl", error),), {}
        chosen = _integers(inputs, model)
        return Outcome(
            (*predictions, *weights, *chosen), {"figures": {**figures, "layers": layers}}
        )


def _predictions(
    inputs: Inputs, params: QuantizationParams, model: Any, bits: int
) -> tuple[tuple[Verdict, ...], dict[str, JsonValue]]:
    from pipeline.onnx.closeness import by_length, predicted_share
    from pipeline.onnx.float_export import float_logits, is_sought, why_no_export
    from pipeline.onnx.reference import Reference
    from pipeline.onnx.session import logits_of
    from pipeline.verdicts.verdicts import limit_verdict, unverified

    exported, whose = float_logits(inputs), "the float export"
    reference = exported or Reference.load(inputs["reference"])
    if exported is None:
        whose = f"the merged model in PyTorch ({why_no_export(inputs)})"
    logits = logits_of(inputs, reference)
    usual, long = by_length(logits, reference.rows)
    limits = _BY_BITS.get(bits, _BY_BITS[4])
    mean_kl = params.max_mean_kl or limits.mean_kl
    figures: dict[str, JsonValue] = {"against": whose}
    verdicts: list[Verdict] = []
    if usual is None:
        return (unverified("mean_kl", "there was no text to compare"),), figures
    figures["usual"] = usual.figures()
    detail = f"against {whose}; {usual.positions} positions"
    agreement = limits.agreement if params.min_top1_agreement is None else params.min_top1_agreement
    verdicts += (
        limit_verdict("mean_kl", usual.mean_kl, "<=", mean_kl, "nats", detail),
        limit_verdict(
            "p99_kl", usual.p99_kl, "<=", params.max_p99_kl or limits.p99_kl, "nats", detail
        ),
        limit_verdict("top1_agreement", usual.agreement, ">=", agreement, detail=detail),
    )
    ran: tuple[Verdict, ...] = ()
    if bits < _BITS_OF_ACTIVATIONS and (exported is not None or not is_sought(inputs)):
        ran, figures["run"] = _run(inputs, params, model, reference, logits)
    verdicts += ran
    if long is not None:
        predicted = predicted_share(row for row in reference.rows if row.is_long)
        figures["long"] = {**long.figures(), "predicted": predicted}
        verdicts += _of_long_text(long, predicted, mean_kl, whose, by_half=bool(ran))
    return tuple(verdicts), figures


def _run(
    inputs: Inputs, params: QuantizationParams, model: Any, reference: Any, logits: Sequence[Any]
) -> tuple[tuple[Verdict, ...], JsonValue]:
    """Return the verdicts on what the artifact computes beside its own weights in PyTorch, and
    their figures; no verdict, and why, where PyTorch cannot have those weights."""
    from pipeline.contract.errors import StepError
    from pipeline.onnx.closeness import by_length
    from pipeline.training.logits import logits_of
    from pipeline.training.own_weights import with_weights_of
    from pipeline.verdicts.verdicts import limit_verdict, unverified

    if "model" not in inputs.paths:
        why = "the checkpoint it was made from is not here"
        return (unverified("run_share", why),), why
    try:
        own = with_weights_of(model, inputs["model"])
        positions = max(len(row.logits) for row in reference.rows)
        rows = logits_of(own, [row.ids for row in reference.rows], positions, inputs.report)
    except (StepError, ValueError, OSError, LookupError, RuntimeError) as error:
        return (), f"PyTorch cannot have the artifact's weights: {error}"
    ran, cost = by_length(logits, rows), by_length([row.logits for row in rows], reference.rows)
    verdicts: list[Verdict] = []
    figures: dict[str, JsonValue] = {}
    for name, of_run, of_weights in zip(("run_share", "long_run_share"), ran, cost, strict=True):
        if of_run is None or of_weights is None:
            continue
        share = min(  # in this order, so that NaN stays
            of_run.mean_kl / max(of_weights.mean_kl, _LEAST_COST),
            _MOST * of_run.most_kl / max(of_weights.most_kl, _LEAST_COST),
        )
        figures[name] = {"run": of_run.figures(), "weights": of_weights.figures()}
        detail = (
            f"{of_run.mean_kl:.2g} nats from PyTorch with the artifact's weights, which are "
            f"{of_weights.mean_kl:.2g} nats from the float ones; {of_run.positions} positions"
        )
        verdicts.append(limit_verdict(name, share, "<=", params.max_run_share, detail=detail))
    return tuple(verdicts), figures


def _of_long_text(
    long: Any, predicted: float, limit: float, whose: str, by_half: bool
) -> Iterator[Verdict]:
    """Yield the verdicts on a long text. Logits that are no numbers fail it in any case.

    ``by_half`` leaves the mean without a limit and gives one to the median: what is left then is
    what rounding does, which in a healthy build may change a few predictions altogether.
    """
    from pipeline.verdicts.verdicts import limit_verdict

    text = f"a text of more than 2,048 tokens, {long.positions} positions"
    detail = f"against {whose}; {text}"
    free = ""
    if predicted < _IN_ITS_DEPTH:
        free = f"no limit: {whose} itself predicts {predicted:.0%} of {text}"
    elif by_half:
        yield limit_verdict("long_median_kl", long.median_kl, "<=", limit, "nats", detail)
        free = f"no limit: it has one in half of the positions; {detail}"
    if free and math.isfinite(long.mean_kl):
        yield Verdict(
            name="long_mean_kl", status="passed", value=long.mean_kl, unit="nats", detail=free
        )
    else:
        yield limit_verdict("long_mean_kl", long.mean_kl, "<=", limit, "nats", detail)


def _matrices(
    inputs: Inputs, params: QuantizationParams, model: Any
) -> tuple[tuple[Verdict, ...], dict[str, JsonValue]]:
    """Return the verdict on every matrix, and the figures of each."""
    from pipeline.onnx.chosen_integers import chosen_names
    from pipeline.onnx.fidelity import compare
    from pipeline.verdicts.verdicts import problem_verdict, summarize_problems, unverified

    name = "layer_scales"
    if "model" not in inputs.paths:
        return (unverified(name, "the checkpoint it was made from is not here"),), {}
    try:
        compared = compare(
            model,
            inputs["model"],
            lambda done, total: inputs.report.progress(done, total, "matrices"),
        )
        chosen = chosen_names(inputs["integers"]) if "integers" in inputs.paths else frozenset()
    except (ValueError, OSError, KeyError, IndexError) as error:
        return (problem_verdict(name, [f"the matrices cannot be read: {error}"], ""),), {}
    problems = [
        problem for layer in compared.layers for problem in _problems(layer, params, chosen)
    ]
    figures: dict[str, JsonValue] = {
        layer.layer: {"bits": layer.bits, "scale": layer.scale, "error": layer.error}
        for layer in compared.layers
    }
    if not problems and compared.unknown:
        unknown = summarize_problems(list(compared.unknown))
        why = f"the checkpoint has nothing of the same name and size: {unknown}"
        return (unverified(name, why),), figures
    worst = max((abs(_scale_of(layer, chosen) - 1) for layer in compared.layers), default=0.0)
    largest = max((layer.error for layer in compared.layers), default=0.0)
    fine = (
        f"{len(compared.layers)} matrices are the checkpoint's, scales within {worst:.1%}, "
        f"errors up to {largest:.1%}"
    )
    return (problem_verdict(name, problems, fine),), figures


def _integers(inputs: Inputs, model: Any) -> Iterator[Verdict]:
    """Yield the verdict on the integers that a pass chose, if one did."""
    from pipeline.contract.errors import StepError
    from pipeline.onnx.chosen_integers import integer_differences
    from pipeline.verdicts.verdicts import problem_verdict

    if not {"model", "integers"} <= inputs.paths.keys():
        return
    try:
        count, found = integer_differences(model, inputs["model"], inputs["integers"])
    except (ValueError, OSError, StepError) as error:
        yield problem_verdict("chosen_integers", [f"they cannot be compared: {error}"], "")
        return
    yield problem_verdict(
        "chosen_integers", found, f"{count} weights are those that were chosen, bit for bit"
    )


def _scale_of(layer: Any, chosen: frozenset[str]) -> float:
    """Return the scale of a matrix that is held against the limit: of integers that a pass chose,
    the one nearest to 1 that it can be."""
    ends = (float(layer.scale), float(layer.inverse_scale))
    if layer.tensor not in chosen:
        return ends[0]
    return 1.0 if min(ends) <= 1 <= max(ends) else min(ends, key=lambda end: abs(end - 1))


def _problems(layer: Any, params: QuantizationParams, chosen: frozenset[str]) -> list[str]:
    limits = _BY_BITS.get(layer.bits, _BY_BITS[4])
    wider = _CHOSEN if layer.tensor in chosen else 1
    limit = params.max_scale_error or limits.scale_error * wider
    error = params.max_weight_error or limits.weight_error
    scale = _scale_of(layer, chosen)
    # Written so that NaN is a problem.
    if not abs(scale - 1) <= limit:
        return [f"{layer.layer} is {scale:.3f} times the checkpoint's (within {limit:g})"]
    if not layer.error <= error:
        return [
            f"{layer.layer} differs from the checkpoint's by {layer.error:.1%} (<= {error:.0%})"
        ]
    return []
