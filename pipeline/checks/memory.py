"""Checks the peak memory of a process that loads the artifact and answers one prompt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, JsonValue, field_validator

from pipeline.checks.base import BaseCheck, Outcome
from pipeline.contract.step import Inputs
from pipeline.verdicts.byte_limits import METRIC, ByteLimitParams
from pipeline.verdicts.goals import Goal
from pipeline.verdicts.verdicts import unverified

if TYPE_CHECKING:
    from pipeline.latency.protocol import AnswerTimes


class MemoryParams(ByteLimitParams):
    """The prompt, and the limits of the process's peak resident set. Without any limit, the peak is
    only reported."""

    prompt_tokens: int = Field(default=1024, ge=1)
    """Length of the prompt in tokens; cut if it does not fit into the model's context."""
    max_new_tokens: int = Field(default=16, ge=1)
    """Tokens generated."""

    @field_validator("goals")
    @classmethod
    def _not_of_the_base_model(cls, goals: tuple[Goal, ...]) -> tuple[Goal, ...]:
        if any(goal.of_base for goal in goals):
            raise ValueError('the base model is not measured; use against = "baseline"')
        return goals


class Check(BaseCheck[MemoryParams]):
    """Load the artifact into a fresh process, answer one long prompt, and read its peak memory.

    This is the machine's memory, not that of a GPU. Without the target's device nothing is
    measured.
    """

    Params = MemoryParams
    sources: ClassVar[tuple[str, ...]] = ("baseline",)
    uses_device: ClassVar[bool] = True
    repeatable: ClassVar[bool] = False

    def run(self, inputs: Inputs, params: MemoryParams) -> Outcome:
        """Measure and compare with the limits.

        Raises :class:`~pipeline.contract.errors.StepError` if the baseline is no artifact.
        """
        from pipeline.checks._baseline import loadable_baseline

        artifact = inputs["artifact"]
        if inputs.absent_device:
            goals = params.limits()
            return Outcome(tuple(unverified(goal.name, inputs.absent_device) for goal in goals))
        before, peak = _peak(artifact, params)
        figures: dict[str, JsonValue] = {METRIC: peak, "bytes_before_loading": before}
        baseline = None
        if "baseline" in inputs.paths:
            other = loadable_baseline(inputs["baseline"], artifact)
            _, baseline = _peak(other, params)
            figures["baseline_bytes"] = baseline
        detail = f"{before / 1e6:.0f} MB of it before the model was loaded"
        return Outcome(params.verdicts(peak, None, baseline, detail), {"figures": figures})


def _peak(folder: Path, params: MemoryParams) -> tuple[int, int]:
    """Return the peak resident set in bytes before the model was loaded, and after its answer."""
    from pipeline.contract.errors import ArtifactError
    from pipeline.data.tokenizer import load_artifact_tokenizer
    from pipeline.latency.measured_process import MeasuredProcess
    from pipeline.latency.protocol import WorkerSettings
    from pipeline.latency.timing import synthetic_prompt
    from pipeline.onnx.genai_config import GenAiConfig

    try:
        room = GenAiConfig(folder).context - params.max_new_tokens
    except ValueError as error:
        raise ArtifactError(str(error)) from error
    prompt = synthetic_prompt(
        load_artifact_tokenizer(folder), max(1, min(params.prompt_tokens, room))
    )
    with MeasuredProcess(WorkerSettings(folder=str(folder))) as process:
        times: AnswerTimes = process.ask(prompt, params.max_new_tokens)
        return process.loaded.bytes_before, times.peak_bytes
