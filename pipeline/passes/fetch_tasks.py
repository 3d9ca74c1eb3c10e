"""Downloads the data of lm-eval's tasks from the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field, JsonValue

from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass


class FetchTasksParams(Frozen):
    """Whose data is fetched."""

    tasks: tuple[str, ...] = Field(min_length=1)
    """Names of tasks, groups or tags of lm-eval."""


class Pass(BasePass[FetchTasksParams]):
    """Download the data of tasks that come with lm-eval, each data set as it is now. Only code of
    that library's own runs, not the user's."""

    Params = FetchTasksParams
    produces: ClassVar[Kind] = "rows"
    packages: ClassVar[str] = "lm_eval"
    network: ClassVar[bool] = True

    def run(self, inputs: Inputs, params: FetchTasksParams, out_dir: Path) -> dict[str, JsonValue]:
        """Write a folder for each data set; return their commits."""
        from pipeline.harness.run import load_tasks, unpack_lm_eval
        from pipeline.harness.task_data import keeping_datasets

        unpack_lm_eval(inputs)
        with keeping_datasets(out_dir) as commits:
            load_tasks(params.tasks, None)
        return {"commits": commits}
