"""Which tasks of lm-eval are run, and how."""

from __future__ import annotations

from pydantic import Field, JsonValue, field_validator

from pipeline.contract.frozen import Frozen


class TaskParams(Frozen):
    """The tasks, and what their prompts are."""

    tasks: tuple[str, ...] = Field(min_length=1)
    """Names of tasks, groups or tags of lm-eval (``["arc_easy", "mmlu"]``), or of tasks in
    ``task_folder``."""
    task_folder: str | None = None
    """Folder with tasks of your own, relative to this file: lm-eval's YAML files, and the data that
    they name (``data_files``, relative to the folder). The functions that they name (``!function``)
    run where the steps run. Default: the tasks that come with lm-eval; their data is fetched from
    the hub."""
    num_fewshot: int | None = Field(default=None, ge=0)
    """Examples in front of each question; without it, what each task says. A task that says 0 gets
    none."""
    limit: int | float | None = Field(default=None, gt=0)
    """Rows of each task, from the first one on; below 1 the share of its rows. Default: all."""
    apply_chat_template: bool = False
    """Ask in the model's chat template, as models that were tuned to chat expect it."""
    system_instruction: str | None = None
    """What the prompt begins with."""
    fewshot_as_multiturn: bool = True
    """With ``apply_chat_template``, make each example a turn of its own."""
    max_length: int | None = Field(default=None, ge=2)
    """Longest prompt with its answer, in tokens; of longer ones the beginning is cut off. Default:
    the model's context."""
    batch_size: int = Field(default=8, ge=1)
    """Prompts that are asked at once in PyTorch; the artifact is asked one by one."""
    bootstrap_iters: int = Field(default=1000, ge=0)
    """Samples for the standard errors of figures that are no means, such as perplexities. With 0,
    no figure has a standard error of its own."""

    @field_validator("limit")
    @classmethod
    def _share_or_rows(cls, limit: float | None) -> float | None:
        if limit is not None and limit >= 1 and limit != int(limit):
            raise ValueError("give a number of rows, or a share below 1")
        return limit if limit is None or limit < 1 else int(limit)


class LmEvalParams(TaskParams):
    """The tasks, and limits of what they score.

    Every limit allows for noise: what it limits may be beyond it by some standard errors.
    """

    max_loss: float | None = Field(default=0.02, ge=0)
    """By how much a figure of the artifact may be worse than the float model's: the tuned model
    before it was quantized. Shares are compared by their difference, so 0.02 is two percentage
    points; figures of which less is better, or that are above 1, by their ratio."""
    max_loss_to_base: float | None = Field(default=0.1, ge=0)
    """The same against the base model: what a fine-tune may cost elsewhere."""
    worst: dict[str, float] = Field(default_factory=dict)
    """The worst that figures may be, by task or, where that has several, by task and figure:
    ``{ "arc_easy.acc_norm" = 0.6 }``."""
    standard_errors: float = Field(default=2.0, ge=0)
    """By how many standard errors a figure must be beyond a limit to fail. That of a difference is
    over the rows that both models answered, that of a single figure is lm-eval's own. 0 allows for
    no noise."""

    def task_values(self) -> dict[str, JsonValue]:
        """Return the part that is about the tasks, as plain values."""
        return self.model_dump(mode="json", include=set(TaskParams.model_fields))
