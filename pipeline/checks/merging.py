"""Checks that a merged model is its base plus the adapter, merged exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field, JsonValue

from pipeline.checks.base import BaseCheck, Outcome
from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind
from pipeline.contract.result import Verdict
from pipeline.contract.roles import Role
from pipeline.contract.step import Inputs

_ROUNDING = {"bfloat16": 0.03, "float16": 0.005, "float32": 0.001}
"""Relative error of the logits that rounding the merged weights to a number format may cause."""


class MergingParams(Frozen):
    """Limits of the ``merging`` check."""

    max_merge_error: float | None = Field(default=None, gt=0)
    """Largest relative error of the merged model's logits against those of base and adapter, in the
    L2 norm. Default: a tenth of the change that the adapter makes, or what rounding to the merged
    weights' number format may cause (bf16 0.03, fp16 0.005, fp32 0.001), whichever is larger."""
    share_tolerance: float = Field(default=0.25, gt=0)
    """How far from 1 the share of the adapter's change that is in the merged model may be: it is 0
    if nothing was merged, and about 2 if it was merged twice."""


@dataclass(frozen=True)
class LogitsChange:
    """Differences between the logits of three models: ``base``, ``adapted`` (base and adapter, not
    merged) and ``merged``. ``|x|`` is the L2 norm over all texts, positions and tokens."""

    error: float
    """``|merged - adapted| / |adapted|``."""
    change: float
    """``|adapted - base| / |adapted|``: how much the adapter changes."""
    from_base: float
    """``|merged - base| / |adapted|``."""
    share: float
    """``<merged - base, adapted - base> / |adapted - base|^2``, the share of the adapter's change
    that is in the merged model; NaN if the adapter changes nothing. Rounding errors are nearly
    orthogonal to the change, so it is meaningful even if they are as large."""

    @property
    def verdict(self) -> str:
        """Return the likely explanation, in words."""
        if self.from_base < self.error:
            return "the merged model is the base: the adapter was not merged"
        if self.share > 1.25:  # a confident model's logits change by less than twice as much
            return f"the adapter's change is in it {self.share:.1f} times: merged twice?"
        return f"the adapter's change is in it {self.share:.2f} times"


class Check(BaseCheck[MergingParams]):
    """Compare the logits of a merged model with those of its base and the adapter beside it, as
    PEFT computes them, and all that the adapter does not change with what the base has: weights,
    config, settings of answers, tokenizer, chat template. For a QLoRA adapter the base is the
    dequantized one it was merged into."""

    Params = MergingParams
    optional_needs: ClassVar[tuple[Role, ...]] = ("merged", "unmerged", "merged_adapter")
    needs: ClassVar[tuple[Role, ...]] = ("merged_reference", "adapted_reference", *optional_needs)
    accepts: ClassVar[tuple[Kind, ...]] = ("onnx", "checkpoint")

    def run(self, inputs: Inputs, params: MergingParams) -> Outcome:
        """Compare. If the adapter changes no logit, ``merge_share`` is unverified."""
        from pipeline.onnx.reference import BASE_DIR, Reference
        from pipeline.verdicts.verdicts import limit_verdict, unverified

        adapted = Reference.load(inputs["adapted_reference"]).rows
        base = Reference.load(inputs["adapted_reference"] / BASE_DIR).rows
        known = {row.ids: row.logits for row in Reference.load(inputs["merged_reference"]).rows}
        merged = [known[row.ids] for row in adapted]
        change = change_of(merged, [row.logits for row in adapted], [row.logits for row in base])
        dtype = str(inputs.metrics.get("merged_reference", {}).get("dtype", ""))
        limit = params.max_merge_error
        if limit is None:
            limit = max(change.change / 10, _ROUNDING.get(dtype, _ROUNDING["bfloat16"]))
        detail = f"the adapter changes the logits by {change.change:.1%}; {change.verdict}"
        verdicts = [limit_verdict("merge_error", change.error, "<=", limit, detail=detail)]
        if change.share != change.share:
            why = "the adapter changes no logit: nothing shows whether it was merged"
            verdicts.append(unverified("merge_share", why))
        else:
            off = abs(change.share - 1)
            detail = f"{change.share:.3f} of the adapter's change is in the merged model"
            verdicts.append(
                limit_verdict("merge_share", off, "<=", params.share_tolerance, "", detail)
            )
        figures: dict[str, JsonValue] = {
            "merge_error": change.error,
            "adapter_change": change.change,
            "from_base": change.from_base,
            "share": None if change.share != change.share else change.share,
        }
        return Outcome((*verdicts, *judge_parts(inputs)), {"figures": figures})


def judge_parts(inputs: Inputs) -> tuple[Verdict, ...]:
    """Return the verdicts on the merged model's weights, and on what lies beside them."""
    from pipeline.verdicts.verdicts import unverified

    if {"merged", "unmerged", "merged_adapter"} <= inputs.paths.keys():
        return _weights(inputs), _files(inputs)
    why = "the checkpoints are not here"
    return unverified("merged_weights", why), unverified("merged_files", why)


def _weights(inputs: Inputs) -> Verdict:
    """Return the verdict on each weight: the base's, with what PEFT adds to it."""
    from dataclasses import replace

    from pipeline.training.adapter_fit import changed_layers
    from pipeline.training.merge_params import MergeParams
    from pipeline.training.merged import NotMergeableByLayer
    from pipeline.training.merged_as_asked import has_other_names, weight_problems
    from pipeline.training.merging import merged_one_by_one
    from pipeline.verdicts.verdicts import problem_verdict, unverified

    name, merged, base = "merged_weights", inputs["merged"], inputs["unmerged"]
    adapter, into = inputs["merged_adapter"], inputs.metrics.get("merged", {}).get("into", "auto")
    parts = replace(inputs, paths={"model": base, "adapter": adapter})
    changed = changed_layers(adapter)
    params = MergeParams.model_validate({"into": into, "dtype": "fp32"})
    try:
        weights = merged_one_by_one(parts, params)
        expected, dequantized = weights.tensors, weights.dequantized > 0
        fine = f"the base's, and PEFT's sum in the {len(changed)} layers of the adapter"
    except NotMergeableByLayer as reason:
        if has_other_names(merged, base):
            return unverified(name, str(reason))
        expected, dequantized = {}, into == "dequantized"
        fine = f"the base's, but for the {len(changed)} layers of the adapter: {reason}"
    problems = weight_problems(merged, base, changed, expected, dequantized=dequantized)
    return problem_verdict(name, problems, f"each weight is {fine}")


def _files(inputs: Inputs) -> Verdict:
    """Return the verdict on what lies beside the weights."""
    from pipeline.training.adapter_fit import changed_layers
    from pipeline.training.merged_as_asked import file_problems
    from pipeline.verdicts.verdicts import problem_verdict, unverified

    name = "merged_files"
    try:
        changed = changed_layers(inputs["merged_adapter"])
        problems = file_problems(inputs["merged"], inputs["unmerged"], changed)
    except Exception as error:  # whatever transformers' code for a config raises
        return unverified(name, f"transformers cannot read the config: {error}")
    fine = "config, settings of answers, tokenizer and chat template are the base's"
    return problem_verdict(name, problems, fine)


def change_of(merged: Sequence[Any], adapted: Sequence[Any], base: Sequence[Any]) -> LogitsChange:
    """Return how the logits of three models differ for the same texts.

    Each array has the shape (positions, vocabulary). Logits are centred (their mean subtracted) at
    every position, since a softmax does not depend on it.
    """
    import numpy as np

    ours, theirs, before = (
        np.concatenate([_centred(rows).ravel() for rows in every])
        for every in (merged, adapted, base)
    )
    norm = float(np.linalg.norm(theirs)) or float("nan")
    step = theirs - before
    made = float(np.vdot(step, step))
    return LogitsChange(
        error=float(np.linalg.norm(ours - theirs)) / norm,
        change=made**0.5 / norm,
        from_base=float(np.linalg.norm(ours - before)) / norm,
        share=float(np.vdot(ours - before, step)) / made if made else float("nan"),
    )


def _centred(logits: Any) -> Any:
    import numpy as np

    values = np.asarray(logits, np.float64)
    return values - values.mean(-1, keepdims=True)
