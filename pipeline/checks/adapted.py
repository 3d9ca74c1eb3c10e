"""Checks that an adapter beside the model is the one that was trained, and that it is in effect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field, JsonValue

from pipeline.checks.base import BaseCheck, Outcome
from pipeline.contract.frozen import Frozen
from pipeline.contract.result import Verdict
from pipeline.contract.roles import Role
from pipeline.contract.step import Inputs

_FORMATS = {"float32": 1e-5, "float16": 2e-3}
"""Relative error that storing the adapter's matrices in a number format may cause."""


class AdapterParams(Frozen):
    """Limits of the ``adapted`` check."""

    max_matrix_error: float | None = Field(default=None, gt=0)
    """Largest relative error of what the adapter adds to a matrix against PEFT's update of that
    layer, in the Frobenius norm. Default: what the number format of the file may cause (fp32
    0.00001, fp16 0.002)."""
    share_tolerance: float = Field(default=0.25, gt=0)
    """How far from 1 the share of the adapter's change may be that the running artifact makes: it
    is 0 if the adapter is not in effect, and about 2 with twice its scale."""


class Check(BaseCheck[AdapterParams]):
    """Prove the adapter that lies beside the model: what it adds to every matrix of the graph is
    the update that PEFT computes for that layer, and the artifact's logits change with it as those
    of PEFT's model do.

    The artifact is run with the adapter and without, so that what quantizing does is in both.
    """

    Params = AdapterParams
    needs: ClassVar[tuple[Role, ...]] = ("artifact", "model", "adapter", "adapted_reference")
    uses_device: ClassVar[bool] = True

    def run(self, inputs: Inputs, params: AdapterParams) -> Outcome:
        """Compare. A file that cannot be read fails the check."""
        from pipeline.onnx.adapter_file import adapter_file, read_adapter
        from pipeline.onnx.genai_config import GenAiConfig
        from pipeline.onnx.graph import OnnxModel
        from pipeline.verdicts.verdicts import problem_verdict

        folder = inputs["artifact"]
        try:
            file = adapter_file(folder)
            if file is None:
                raise ValueError("there is none beside the model")
            weights = read_adapter(file)
            graph = OnnxModel(folder / GenAiConfig(folder).filename)
        except ValueError as error:
            return Outcome((problem_verdict("adapter_file", [str(error)], ""),))
        problems = list(_file_problems(graph, weights))
        whole = problem_verdict(
            "adapter_file", problems, f"{file.name}: {len(weights)} matrices, each for an input"
        )
        if problems:
            return Outcome((whole,))
        matrices, errors = _matrices(inputs, params, graph, weights)
        share, figures = _share(inputs, params)
        return Outcome((whole, matrices, share), {"errors": errors, "figures": figures})


def _file_problems(graph: Any, weights: Any) -> Iterator[str]:
    """Yield where an adapter's arrays are not what the graph's optional inputs take."""
    from pipeline.onnx.adapter_inputs import branches, number_format, optional_inputs
    from pipeline.onnx.graph import dimensions

    inputs = {value.name: dimensions(value) for value in graph.graph.input}
    used = {name for branch in branches(graph) for pair in branch.pairs for name in pair}
    for name in sorted(weights.keys() - optional_inputs(graph)):
        yield f"the graph has no optional input {name}"
    for name in sorted((weights.keys() & optional_inputs(graph)) - used):
        yield f"{name} adds nothing to any matrix"
    for name in sorted(weights.keys() & used):
        fixed = [size for size in inputs[name] if isinstance(size, int)]
        if not {*fixed} <= {*weights[name].shape} or weights[name].ndim != len(inputs[name]):
            yield f"{name} is of shape {weights[name].shape}, not {inputs[name]}"
        elif weights[name].dtype != number_format(graph, name):
            yield f"{name} is of {weights[name].dtype}"


def _matrices(
    inputs: Inputs, params: AdapterParams, graph: Any, weights: Any
) -> tuple[Verdict, dict[str, JsonValue]]:
    """Return the verdict on what is added to each matrix, and the errors by tensor."""
    import numpy as np

    from pipeline.onnx.adapter_inputs import branches
    from pipeline.onnx.checkpoint import Checkpoint
    from pipeline.onnx.origins import Origins
    from pipeline.verdicts.verdicts import problem_verdict, unverified

    if "model" not in inputs.paths:
        return unverified("adapter_matrices", "the checkpoint it was trained on is not here"), {}
    origins = Origins(Checkpoint(inputs["model"]))
    updates = _updates(inputs)
    squares = {tensor: [0.0, float(np.vdot(made, made)), 0.0] for tensor, made in updates.items()}
    formats = {str(array.dtype) for array in weights.values()}
    limit = params.max_matrix_error or max((_FORMATS.get(kind, 0.0) for kind in formats), default=0)
    problems = []
    covered = dict.fromkeys(updates, 0)
    for branch in branches(graph):
        change = branch.change(graph, weights)
        for origin in origins.of(branch.matrix.name, branch.matrix.shape[0]):
            ours = change[origin.first : origin.first + origin.count]
            if origin.tensor not in updates:
                if ours.any():
                    problems.append(f"{origin.layer} is changed, which the adapter leaves as it is")
                continue
            rows = slice(origin.tensor_first, origin.tensor_first + origin.count)
            theirs = updates[origin.tensor][rows]
            sums = squares[origin.tensor]
            sums[0] += float(np.vdot(ours - theirs, ours - theirs))
            sums[2] += float(np.vdot(ours, theirs))
            covered[origin.tensor] += origin.count
    errors: dict[str, JsonValue] = {}
    for tensor, (off, norm, product) in squares.items():
        error = (off / norm) ** 0.5 if norm else off**0.5
        errors[tensor] = error
        if covered[tensor] != len(updates[tensor]):
            problems.append(f"{tensor}: the graph adds nothing to {covered[tensor]} of its rows")
        elif not error <= limit:
            scale = product / norm if norm else float("nan")
            problems.append(f"{tensor}: {scale:.3f} times PEFT's update, {error:.1%} off")
    worst = max((error for error in errors.values() if isinstance(error, float)), default=0.0)
    fine = f"{len(updates)} layers are changed as PEFT changes them, within {worst:.1e}"
    return problem_verdict("adapter_matrices", problems, fine), errors


def _updates(inputs: Inputs) -> dict[str, Any]:
    """Return what PEFT adds to the base's tensors, by their names, in fp64."""
    from peft.tuners.lora import LoraLayer

    from pipeline.training.merge_params import MergeParams
    from pipeline.training.merged import NotMergeableByLayer, adapted_model
    from pipeline.training.merging import load_adapted

    try:
        adapted = adapted_model(inputs["model"], inputs["adapter"], None).model
    except NotMergeableByLayer:
        adapted = load_adapted(inputs, MergeParams(into="original"))
    return {
        f"{name}.weight": layer.get_delta_weight("default").detach().double().numpy()
        for name, layer in adapted.base_model.model.named_modules()
        if isinstance(layer, LoraLayer)
    }


def _share(inputs: Inputs, params: AdapterParams) -> tuple[Verdict, dict[str, JsonValue]]:
    """Return the verdict on how much of the adapter's change the running artifact makes."""
    from pipeline.checks.merging import change_of
    from pipeline.onnx.reference import BASE_DIR, Reference
    from pipeline.onnx.session import logits_of
    from pipeline.verdicts.verdicts import limit_verdict, unverified

    both = Reference.load(inputs["adapted_reference"])
    alone = Reference.load(inputs["adapted_reference"] / BASE_DIR)
    adapted, base = ([row.logits for row in reference.rows] for reference in (both, alone))
    ours, without = (logits_of(inputs, both, adapted=with_it) for with_it in (True, False))
    step = [row + (mine - plain) for row, mine, plain in zip(base, ours, without, strict=True)]
    change = change_of(step, adapted, base)
    figures: dict[str, JsonValue] = {"adapter_change": change.change}
    name = "adapter_share"
    if change.share != change.share:
        return unverified(name, "the adapter changes no logit of PEFT's model"), figures
    figures["share"] = change.share
    detail = f"the running artifact makes {change.share:.3f} of the change that PEFT's model makes"
    off = abs(change.share - 1)
    return limit_verdict(name, off, "<=", params.share_tolerance, "", detail), figures
