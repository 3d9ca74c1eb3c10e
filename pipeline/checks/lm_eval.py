"""Runs tasks of lm-eval on the artifact, and compares it with float and base model."""

from __future__ import annotations

from typing import ClassVar

from pydantic import JsonValue

from pipeline.checks.base import BaseCheck, Outcome
from pipeline.contract.errors import StepError
from pipeline.contract.kinds import Kind
from pipeline.contract.result import Verdict
from pipeline.contract.roles import Role
from pipeline.contract.step import Inputs
from pipeline.harness.limits import loss_verdicts, worst_verdicts
from pipeline.harness.params import LmEvalParams
from pipeline.harness.results import TaskResults
from pipeline.verdicts.verdicts import marked_as_on_cpu, unverified

_ON_DEVICE = "tasks_on_device"


class Check(BaseCheck[LmEvalParams]):
    """Ask the artifact what tasks of lm-eval ask, and compare each of their figures with those of
    the float model (the tuned one in PyTorch, in fp32) and of the base model.

    The library is lm-eval, whose models ``hf`` and ``onnxruntime-genai`` are asked the same tokens.
    Its packages are fetched for this check alone. Without the target's device the artifact answers
    through the CPU provider.
    """

    Params = LmEvalParams
    needs: ClassVar[tuple[Role, ...]] = ("artifact", "task_data", "base_tasks", "tuned_tasks")
    optional_needs: ClassVar[tuple[Role, ...]] = ("task_data", "base_tasks", "tuned_tasks")
    accepts: ClassVar[tuple[Kind, ...]] = ("onnx", "checkpoint", "adapter")
    packages: ClassVar[str] = "lm_eval"
    sources: ClassVar[tuple[str, ...]] = ("task_folder",)
    runs_by_default: ClassVar[bool] = False
    uses_device: ClassVar[bool] = True

    @classmethod
    def needs_of(cls, params: LmEvalParams, artifact: Kind = "onnx") -> tuple[Role, ...]:
        """Return no artifact where that is the tuned model itself, and data only where it is
        fetched."""
        built = artifact == "onnx"
        return (
            *(("artifact",) if built else ()),
            *(("task_data",) if params.task_folder is None else ()),
            *("base_tasks", "tuned_tasks"),
        )

    @classmethod
    def own_pass_of(cls, params: LmEvalParams, role: Role) -> dict[str, JsonValue]:
        """Return the tasks."""
        if role == "task_data":
            return {"tasks": [*params.tasks]}
        return params.task_values()

    def run(self, inputs: Inputs, params: LmEvalParams) -> Outcome:
        """Run the tasks, and compare with the limits. Raises :class:`StepError` for a limit of
        something that is not measured."""
        found = {
            name: TaskResults.load(inputs[f"{name}_tasks"])
            for name in ("base", "tuned")
            if f"{name}_tasks" in inputs.paths
        }
        others = {"base": params.max_loss_to_base}
        if "artifact" in inputs.paths:
            found["artifact"] = _asked(inputs, params)
            others["tuned"] = params.max_loss
        ours = found.get("artifact", found.get("tuned"))
        if ours is None:
            raise StepError("there is neither an artifact nor a tuned model")
        verdicts: list[Verdict] = [*worst_verdicts(ours, params)]
        for name, limit in others.items():
            if name in found:
                against = "float" if name == "tuned" else name
                verdicts += loss_verdicts(ours, found[name], against, limit, params.standard_errors)
        evidence: dict[str, JsonValue] = {name: one.values() for name, one in found.items()}
        evidence["lm_eval"] = ours.lm_eval
        if inputs.absent_device and "artifact" in found:
            waiting = unverified(_ON_DEVICE, inputs.absent_device)
            return Outcome((*marked_as_on_cpu(verdicts), waiting), evidence)
        return Outcome(tuple(verdicts), evidence)


def _asked(inputs: Inputs, params: LmEvalParams) -> TaskResults:
    from pipeline.harness.models import artifact_model
    from pipeline.harness.run import run_tasks, unpack_lm_eval
    from pipeline.onnx.session import Session

    unpack_lm_eval(inputs)
    session = Session(inputs["artifact"], inputs.threads, cpu=bool(inputs.absent_device))
    return run_tasks(artifact_model(session, inputs["artifact"], params), inputs, params)
