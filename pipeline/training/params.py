"""Parameters that the fine-tuning passes share. Free of any ML library.

Those of one kind of adapter are in modules of their own, of which a plan imports what it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator
from typing_extensions import Self

from pipeline.contract.data_spec import DataSpec
from pipeline.contract.frozen import Frozen
from pipeline.contract.space import SpaceEstimate
from pipeline.training.loading import ModelLoading
from pipeline.training.quantization import BaseQuantization, WeightsDtype
from pipeline.training.shapes import AdapterShape

Scheduler = Literal[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "cosine_with_min_lr",
    "cosine_warmup_with_min_lr",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
    "warmup_stable_decay",
    "reduce_lr_on_plateau",
    "greedy",
]

_FIXED_SCHEDULERS = ("constant", "constant_with_warmup")
"""Schedulers without arguments."""
_MEASURING_SCHEDULERS = ("reduce_lr_on_plateau", "greedy")
"""Schedulers that follow the validation loss."""

Optimizer = Literal[
    "adamw_torch",
    "adamw_torch_fused",
    "adamw_bnb_8bit",
    "paged_adamw_8bit",
    "paged_adamw_32bit",
    "ademamix",
    "ademamix_8bit",
    "paged_ademamix_8bit",
    "paged_ademamix_32bit",
    "lion_8bit",
    "lion_32bit",
    "paged_lion_8bit",
    "paged_lion_32bit",
    "adafactor",
    "adagrad",
    "rmsprop",
    "rmsprop_bnb",
    "rmsprop_bnb_8bit",
    "rmsprop_bnb_32bit",
    "sgd",
]

_ADEMAMIX = ("beta1", "beta2", "beta3", "alpha", "eps", "t_alpha", "t_beta3")
_OPTIMIZER_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "ademamix": _ADEMAMIX,
    "ademamix_8bit": _ADEMAMIX,
    "paged_ademamix_8bit": _ADEMAMIX,
    "paged_ademamix_32bit": _ADEMAMIX,
    "adagrad": ("lr_decay", "weight_decay", "eps"),
    "rmsprop": ("momentum", "alpha", "eps", "weight_decay", "centered"),
    "sgd": ("momentum", "dampening", "weight_decay", "nesterov"),
}
"""The ``optim_args`` that transformers reads, per optimizer; it silently ignores all others."""

TOKENS = "tokens"
"""Role of the rows that a step before the training has tokenized; without it, the training does."""

QUANTIZED = "quantized"
"""Role of the base in 4 bits that a step before the training has made; without it, the training
does."""

Interval = Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)]
"""A number of steps, or a share of all steps."""


class TrainingLoopParams(Frozen):
    """The training loop."""

    epochs: float | None = Field(default=None, gt=0)
    """Passes over the training rows. Default, unless ``max_steps`` is given: as many as make about
    400 steps, at least 3 and at most 10."""
    max_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps, in place of ``epochs``."""
    batch_size: int = Field(default=16, ge=1)
    """Rows per forward pass and device."""
    eval_batch_size: int = Field(default=64, ge=1)
    gradient_accumulation: int = Field(default=1, ge=1)
    """Forward passes per optimizer step."""
    gpus: int = Field(default=1, ge=1, le=64)
    """Processes that train together, each on a GPU of its own; without GPUs they share the CPUs.
    They share the rows of a step, which are no more for it: ``batch_size`` times
    ``gradient_accumulation``. It must divide one of these two."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    learning_rate: float = Field(default=1e-3, gt=0)
    scheduler: Scheduler = "cosine"
    scheduler_kwargs: dict[str, JsonValue] = Field(default_factory=dict)
    """Further arguments of the scheduler, e.g. ``{num_cycles = 2}``, ``{min_lr_rate = 0.1}``."""
    warmup_ratio: float | None = Field(default=None, ge=0, lt=1)
    """Share of the steps with rising learning rate. Default: 0.06, unless ``warmup_steps`` is
    given. The schedulers ``constant``, ``reduce_lr_on_plateau`` and ``greedy`` have no such steps.
    """
    warmup_steps: int | None = Field(default=None, ge=0)
    optimizer: Optimizer = "adamw_torch"
    """Without a GPU, a ``paged_`` optimizer is replaced by the same one without paging."""
    optimizer_kwargs: dict[str, bool | int | float] = Field(default_factory=dict)
    """Further arguments of the optimizer, e.g. ``{momentum = 0.9}`` of ``sgd``."""
    adam_beta1: float = Field(default=0.9, ge=0, lt=1)
    adam_beta2: float = Field(default=0.999, ge=0, lt=1)
    adam_epsilon: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    max_grad_norm: float = Field(default=1.0, ge=0)
    """Gradients are clipped to this norm; 0 turns clipping off."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    neftune_alpha: float | None = Field(default=None, gt=0)
    """Noise on the embeddings while training (NEFTune, arXiv 2310.05914)."""
    max_length: int = Field(default=1024, ge=8)
    """Longest training row in tokens."""
    too_long: Literal["drop", "cut", "error"] = "drop"
    """A longer row is left out (and counted), loses the beginning of its prompt, or is an error."""
    packing: bool = False
    """Put several rows into one sequence of ``max_length``, each with its own positions and
    attention: less padding."""
    group_by_length: bool = False
    """Batch rows of similar length: less padding, less random order."""
    shuffle: bool = True
    """Train on the rows in a new random order each epoch, instead of the order of the data."""
    drop_last: bool = False
    """Leave out the last batch of an epoch if it is not full."""
    save_steps: int | None = Field(default=None, ge=1)
    """Steps between two snapshots, with which an interrupted training goes on. Default: ten
    minutes. It changes nothing of the result, and no snapshot is kept once there is one."""
    seed: int | None = Field(default=None, ge=0, lt=2**32)
    """Seed of initialization and dropout. Default: the build's seed."""
    data_seed: int | None = None
    """Seed of the row order. Default: ``seed``."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the forward pass: ``auto`` is fp32 on a CPU, bf16 (fp16 on old ones) on a
    GPU."""
    tf32: bool = False
    """Let GPUs that can (NVIDIA Ampere and later) round fp32 factors of a product to 10 bits of
    mantissa: faster, less exact."""
    eval_steps: Interval | None = None
    """Measure the validation loss every this many steps, or after this share of all steps. Default:
    once per epoch. It is measured after the last step in any case."""
    eval_delay: float = Field(default=0, ge=0)
    """Measure no validation loss in this many epochs at the beginning (with ``eval_steps``: steps).
    """
    eval_on_start: bool = False
    """Measure the validation loss before the first step too. The weights of that step, those of the
    base, are never kept."""
    logging_steps: Interval | Literal["epoch"] | None = None
    """Points of the training loss curve: one every this many steps, or after this share of all
    steps, or per epoch. Default: about 50 in all. Each is the mean since the previous one."""
    logging_first_step: bool = False
    """Make the first step a point of the curve too."""
    keep: Literal["best", "last"] | None = None
    """Keep the weights with the lowest validation loss (``best``), or the last ones. Default:
    ``best`` if the validation part is not the held-out part, else ``last``, because a part that
    chose the checkpoint is no longer unseen."""
    early_stopping_patience: int | None = Field(default=None, ge=1)
    """Stop after this many measurements without a lower validation loss."""
    early_stopping_threshold: float = Field(default=0.0, ge=0)
    """By how much a loss must be lower to count."""

    @model_validator(mode="after")
    def _one_length_of_training(self) -> Self:
        if self.epochs is not None and self.max_steps is not None:
            raise ValueError("give epochs or max_steps, not both")
        if self.warmup_ratio is not None and self.warmup_steps is not None:
            raise ValueError("give warmup_ratio or warmup_steps, not both")
        if self.max_steps and self.warmup_steps and self.warmup_steps > self.max_steps:
            raise ValueError("warmup_steps is more than max_steps")
        if self.gradient_accumulation % self.gpus and self.batch_size % self.gpus:
            raise ValueError("gpus must divide gradient_accumulation or batch_size")
        if self.packing and self.group_by_length:
            raise ValueError("packing already fills the sequences; remove group_by_length")
        if self.group_by_length and not self.shuffle:
            raise ValueError("group_by_length makes an order of its own; remove shuffle = false")
        return self

    @model_validator(mode="after")
    def _arguments_are_read(self) -> Self:
        if self.scheduler_kwargs and self.scheduler in _FIXED_SCHEDULERS:
            raise ValueError(f"the scheduler {self.scheduler} takes no scheduler_kwargs")
        known = _OPTIMIZER_ARGUMENTS.get(self.optimizer, ())
        if unknown := sorted(self.optimizer_kwargs.keys() - set(known)):
            takes = ", ".join(known) or "none"
            raise ValueError(
                f"optimizer_kwargs: {self.optimizer} takes no {unknown[0]} (it takes: {takes})"
            )
        return self

    @property
    def pass_rows(self) -> int:
        """Return the rows of one forward pass of one process."""
        whole = self.gradient_accumulation % self.gpus == 0
        return self.batch_size if whole else self.batch_size // self.gpus

    @property
    def passes_per_step(self) -> int:
        """Return the forward passes per optimizer step of one process."""
        return self.batch_size * self.gradient_accumulation // (self.pass_rows * self.gpus)

    def problems_with(self, spec: DataSpec) -> list[str]:
        """Return a message for each parameter that the data set ``spec`` does not support."""
        sequences = spec.sequences
        if sequences is not None and self.max_length < sequences.length:
            return [
                f"max_length {self.max_length} is less than sequences.length "
                f"{sequences.length}, which is what counts; raise it"
            ]
        if _validated_on(spec) is not None:
            return []
        needs = {
            'keep = "best"': self.keep == "best",
            "early_stopping_patience": self.early_stopping_patience is not None,
            "eval_steps": self.eval_steps is not None,
            "eval_delay": self.eval_delay > 0,
            "eval_on_start": self.eval_on_start,
            f'scheduler = "{self.scheduler}"': self.scheduler in _MEASURING_SCHEDULERS,
        }
        return [
            f"{name} needs a validation split; set split.validation above 0"
            for name, needed in needs.items()
            if needed
        ]

    def keeps_best(self, spec: DataSpec) -> bool:
        """Return whether the weights with the lowest validation loss are kept."""
        validated_on = _validated_on(spec)
        if self.keep is None:
            return validated_on == "validation"
        return self.keep == "best" and validated_on is not None

    def chosen_by(self, spec: DataSpec) -> Literal["validation", "eval"] | None:
        """Return the part whose loss decides which weights are kept; ``None`` if none does."""
        chooses = (
            self.keeps_best(spec)
            or self.early_stopping_patience is not None
            or self.scheduler in _MEASURING_SCHEDULERS
        )
        return _validated_on(spec) if chooses else None


def _validated_on(spec: DataSpec) -> Literal["validation", "eval"] | None:
    """Return the part that the validation loss is measured on; ``None`` if there is none.

    ``validation`` is a part of its own, ``eval`` is the held-out part.
    """
    if spec.validation_data is not None:
        return "eval" if spec.validation_data == spec.held_out else "validation"
    if spec.split.validation == "eval":
        return "eval"
    return "validation" if spec.split.validation > 0 else None


class FinetuneParams(AdapterShape, TrainingLoopParams, ModelLoading):
    """Parameters of every fine-tuning pass: those of adapter, training loop and base."""

    def base_quantization(self, weights_dtype: WeightsDtype) -> BaseQuantization | None:
        """Return how the base is quantized while training; ``None`` for a float base."""
        del weights_dtype
        return None

    def kept_base(self) -> Frozen | None:
        """Return the parameters of the step that quantizes the base for this training on a CPU, and
        for others; ``None`` if there is nothing that they could share."""
        return None

    def multiplied_in(self, precision: str) -> str:
        """Return the number format of products with quantized weights.

        ``precision`` is that of the forward pass.
        """
        return precision

    def writes(self, inputs: Mapping[str, SpaceEstimate]) -> SpaceEstimate | None:
        """Return the size of the adapter; ``None`` if the base's is unknown."""
        base = inputs.get("model")
        return (
            None
            if base is None or base.weights is None
            else SpaceEstimate(self.stored(base.weights))
        )
