"""Checks that an ONNX export, before quantization, computes the same as the merged model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field, JsonValue

from pipeline.checks._rotary import MAX_ERROR, rotary_verdict
from pipeline.checks.base import BaseCheck, Outcome
from pipeline.contract.frozen import Frozen
from pipeline.contract.result import Verdict
from pipeline.contract.roles import Role
from pipeline.contract.step import Inputs


@dataclass(frozen=True)
class _Limits:
    error: float
    max_error: float
    agreement: float


_FLOAT = _Limits(0.02, 0.2, 0.95)
"""Several times the errors of correct fp32 and fp16 graphs: 0.001, 0.011 and full agreement."""
_FP32 = _Limits(0.002, 0.02, 0.95)
"""For an export in fp32, in which nothing is rounded: a real model's logits differ by 2e-5 root
mean squares. Where norms did not subtract the mean as OLMo's do, errors began at 0.008 and 0.11."""
_BY_BITS: Mapping[int, _Limits] = {
    4: _Limits(0.5, 20.0, 0.5),
    8: _Limits(0.1, 2.0, 0.9),
    16: _FLOAT,
    32: _FLOAT,
}
"""By bits per weight. The limits for quantized weights are used if there is no unquantized export,
so that the errors of conversion and quantization cannot be separated. Healthy builds of
SmolLM2-135M in int4 have an error of 0.3 to 0.49, in int8 0.04; logits that are all zero, 1."""


class ConversionParams(Frozen):
    """Limits. Their defaults depend on the precision of the graph that is compared."""

    max_logits_error: float | None = Field(default=None, gt=0)
    """Largest relative error of the logits, in the L2 norm. Default: 0.02 for a float graph, 0.002
    for an export in fp32."""
    max_logits_difference: float | None = Field(default=None, gt=0)
    """Largest difference of a single logit, in root mean squares of the logits. Default: 0.2 for a
    float graph, 0.02 for an export in fp32."""
    min_top1_agreement: float | None = Field(default=None, ge=0, le=1)
    """Smallest share of positions that must have the same first choice. Default: 0.95 for a float
    graph."""
    max_rotary_error: float = Field(default=MAX_ERROR, gt=0)
    """Largest difference of a cosine or sine in the graph's tables of rotary positions."""


class Check(BaseCheck[ConversionParams]):
    """Compare an unquantized export with the merged model, by the logits of the same texts and by
    the tables of rotary positions.

    The export is the artifact itself if that is not quantized, else one that the
    ``float_reference`` pass built from the same checkpoint. If the model is too large for that, the
    artifact is compared with the merged model, with wider limits, and the verdict says so. Graphs
    run through the CPU provider, whatever they were built for.
    """

    Params = ConversionParams
    needs: ClassVar[tuple[Role, ...]] = ("artifact", "reference", "float_reference")
    optional_needs: ClassVar[tuple[Role, ...]] = ("float_reference",)
    uses_device: ClassVar[bool] = True

    def run(self, inputs: Inputs, params: ConversionParams) -> Outcome:
        """Compare logits and tables. A graph that cannot be read fails the check."""
        from pipeline.contract.errors import ArtifactError, BeyondCpuError
        from pipeline.onnx.genai_config import GenAiConfig
        from pipeline.onnx.graph import OnnxModel
        from pipeline.onnx.quantized import linear_layers
        from pipeline.onnx.reference import Reference
        from pipeline.verdicts.verdicts import problem_verdict, unusable

        folder = inputs["artifact"]
        try:
            model = OnnxModel(folder / GenAiConfig(folder).filename)
        except ValueError as error:
            return Outcome((problem_verdict("graph_readable", [str(error)], ""),))
        reference = Reference.load(inputs["reference"])
        bits = min((layer.bits for layer in linear_layers(model)), default=32)
        try:
            verdicts, figures = _predictions(inputs, params, reference, bits)
        except (ArtifactError, BeyondCpuError) as error:
            verdicts, figures = (unusable("logits_error", error),), {}
        table = rotary_verdict(model, reference.rotary, params.max_rotary_error)
        return Outcome((*verdicts, table), {"figures": figures})


def _predictions(
    inputs: Inputs, params: ConversionParams, reference: Any, bits: int
) -> tuple[tuple[Verdict, ...], dict[str, JsonValue]]:
    from pipeline.onnx.closeness import by_length

    logits, note, limits = _logits(inputs, reference, bits)
    usual, long = by_length(logits, reference.rows)
    figures: dict[str, JsonValue] = {"of": note}
    if usual is not None:
        figures["usual"] = usual.figures()
    if long is not None:
        figures["long"] = long.figures()
    usual_verdicts = _judged(params, limits, usual, note)
    return (*usual_verdicts, *_judged_long(params, limits, long, note)), figures


def _logits(inputs: Inputs, reference: Any, bits: int) -> tuple[list[Any], str, _Limits]:
    """Return the logits to compare, a description of their model, and the limits for it."""
    from pipeline.onnx.float_export import float_logits, why_no_export
    from pipeline.onnx.session import logits_of

    limits = _BY_BITS.get(bits, _BY_BITS[4])
    if bits >= 16:
        return logits_of(inputs, reference), "the artifact, which is not quantized", limits
    exported = float_logits(inputs)
    if exported is not None:
        precision = inputs.metrics.get("float_reference", {}).get("precision", "float")
        limits = _FP32 if precision == "fp32" else _FLOAT
        return [row.logits for row in exported.rows], f"a {precision} export", limits
    note = f"the artifact, conversion and quantization together: {why_no_export(inputs)}"
    return logits_of(inputs, reference), note, limits


def _judged(
    params: ConversionParams, limits: _Limits, figures: Any, note: str
) -> tuple[Verdict, ...]:
    from pipeline.verdicts.verdicts import limit_verdict, unverified

    if figures is None:
        return (unverified("logits_error", "there was no text to compare"),)
    detail = f"{note}; {figures.positions} positions"
    return (
        limit_verdict(
            "logits_error",
            figures.error,
            "<=",
            params.max_logits_error or limits.error,
            detail=detail,
        ),
        limit_verdict(
            "logits_difference",
            figures.max_error,
            "<=",
            params.max_logits_difference or limits.max_error,
            "RMS",
            detail,
        ),
        limit_verdict(
            "conversion_agreement",
            figures.agreement,
            ">=",
            limits.agreement if params.min_top1_agreement is None else params.min_top1_agreement,
            detail=f"same first choice; {detail}",
        ),
    )


def _judged_long(
    params: ConversionParams, limits: _Limits, figures: Any, note: str
) -> tuple[Verdict, ...]:
    """Return the verdicts on the long text; none if the context is too short for one."""
    from pipeline.verdicts.verdicts import limit_verdict

    if figures is None:
        return ()
    limit = params.max_logits_error or limits.error
    detail = f"{note}; a text of more than 2,048 tokens, {figures.positions} positions"
    return (limit_verdict("long_logits_error", figures.error, "<=", limit, detail=detail),)
