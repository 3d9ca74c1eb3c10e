"""Runs lm-eval's tasks on a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.harness.params import TaskParams
from pipeline.passes.base import BasePass
from pipeline.training.loading import ModelLoading


class RunTasksParams(TaskParams, ModelLoading):
    """The tasks, and how the model is loaded."""


class Pass(BasePass[RunTasksParams]):
    """Score a checkpoint on tasks of lm-eval, in fp32."""

    Params = RunTasksParams
    consumes: ClassVar[Mapping[str, Kind]] = {"model": "checkpoint"}
    produces: ClassVar[Kind] = "predictions"
    packages: ClassVar[str] = "lm_eval"
    sources: ClassVar[tuple[str, ...]] = ("task_folder",)

    def run(self, inputs: Inputs, params: RunTasksParams, out_dir: Path) -> dict[str, JsonValue]:
        """Write :class:`~pipeline.harness.results.TaskResults`; return the figures."""
        from pipeline.data.tokenizer import load_tokenizer
        from pipeline.harness.models import checkpoint_model
        from pipeline.harness.run import run_tasks, unpack_lm_eval
        from pipeline.training.determinism import prepare
        from pipeline.training.streamed import load_fp32

        prepare(inputs.seed, inputs.threads)
        unpack_lm_eval(inputs)
        tokenizer = load_tokenizer(inputs["model"], params.trust_remote_code)
        model = load_fp32(inputs["model"], params, inputs.report)
        results = run_tasks(checkpoint_model(model, tokenizer, params), inputs, params)
        results.save(out_dir)
        return {"tasks": results.values(), "lm_eval": results.lm_eval}
