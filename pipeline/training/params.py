"""Parameters of the fine-tuning and merge passes. Free of any ML library."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue, model_validator
from typing_extensions import Self

from pipeline.data.spec import DataSpec
from pipeline.model import Frozen

Scheduler = Literal[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "cosine_with_min_lr",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
    "warmup_stable_decay",
]

Optimizer = Literal[
    "adamw_torch",
    "adamw_torch_fused",
    "adamw_bnb_8bit",
    "paged_adamw_8bit",
    "paged_adamw_32bit",
    "adafactor",
    "adagrad",
    "rmsprop",
    "sgd",
]


def _is_regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return pattern


Modules = tuple[str, ...] | Annotated[str, AfterValidator(_is_regex)]
"""Module names (their last parts), or one regular expression over whole module paths."""


class ModelLoading(Frozen):
    """What may be loaded of a model that others made."""

    trust_remote_code: bool = False
    """Run Python code that the model's repository brings. It runs without network."""
    weights: Literal["safetensors", "any"] = "safetensors"
    """``any`` also loads pickled weights, which can hold code."""


class AdapterShape(Frozen):
    """The low-rank adapter (LoRA, arXiv 2106.09685)."""

    r: int = Field(default=64, ge=1)
    """Rank of the update."""
    alpha: float = Field(default=64, gt=0)
    """The update is scaled by ``alpha / r``, with ``use_rslora`` by ``alpha / sqrt(r)``."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout before the adapter's first matrix."""
    target_modules: Modules | Literal["all-linear"] = (
        "qkv_proj",
        "o_proj",
        "gate_up_proj",
        "down_proj",
    )
    """Names of the layers that get an adapter, ``"all-linear"``, or a regular expression over whole
    module paths. The default is what Phi-3 has."""
    exclude_modules: tuple[str, ...] = ()
    """Names of layers that get none although ``target_modules`` covers them."""
    modules_to_save: tuple[str, ...] | None = None
    """Layers trained whole and saved with the adapter, e.g. ``embed_tokens`` and ``lm_head``.
    Default: none, but ``embed_tokens`` of a model so small (at most 4 million weights there) that
    it has hardly met the words of the data."""
    rank_pattern: dict[str, int] = Field(default_factory=dict)
    """Another rank for layers whose path ends with, or matches, the key."""
    alpha_pattern: dict[str, float] = Field(default_factory=dict)
    """Another alpha for layers whose path ends with, or matches, the key."""
    layers: tuple[int, ...] | None = None
    """Only these decoder layers, counted from 0."""
    use_rslora: bool = False
    """Rank-stabilised scaling (arXiv 2312.03732)."""
    use_dora: bool = False
    """Weight-decomposed adaptation (arXiv 2402.09353): slower, better at low ranks."""
    init_lora_weights: Literal["default", "gaussian"] = "default"
    """How the adapter begins: both (Kaiming and zero, normal and zero) begin as no change. PEFT's
    initializations that change the base weights (PiSSA, OLoRA) are not offered: the base that the
    adapter is merged into would not be the one it was trained over."""
    bias: Literal["none", "all", "lora_only"] = "none"
    """Which bias vectors are trained."""


class Training(Frozen):
    """The training loop."""

    epochs: float | None = Field(default=None, gt=0)
    """Passes over the training rows. Where neither this nor ``max_steps`` is given: as many as make
    about 400 steps, at least 3 and at most 10."""
    max_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps, in place of ``epochs``."""
    batch_size: int = Field(default=16, ge=1)
    """Rows per forward pass and device."""
    eval_batch_size: int = Field(default=64, ge=1)
    gradient_accumulation: int = Field(default=1, ge=1)
    """Forward passes per optimizer step."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, more time."""
    learning_rate: float = Field(default=1e-3, gt=0)
    scheduler: Scheduler = "cosine"
    scheduler_kwargs: dict[str, JsonValue] = Field(default_factory=dict)
    """Further arguments of the scheduler, e.g. ``{num_cycles = 2}``, ``{min_lr_rate = 0.1}``."""
    warmup_ratio: float | None = Field(default=None, ge=0, lt=1)
    """Share of the steps with rising learning rate; 0.06 where ``warmup_steps`` is not given."""
    warmup_steps: int | None = Field(default=None, ge=0)
    optimizer: Optimizer = "adamw_torch"
    adam_beta1: float = Field(default=0.9, ge=0, lt=1)
    adam_beta2: float = Field(default=0.999, ge=0, lt=1)
    adam_epsilon: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    neftune_alpha: float | None = Field(default=None, gt=0)
    """Noise on the embeddings while training (NEFTune, arXiv 2310.05914)."""
    max_length: int = Field(default=1024, ge=8)
    """Longest training row in tokens."""
    too_long: Literal["drop", "cut", "error"] = "drop"
    """A longer row is left out (and counted), loses the beginning of its prompt, or is an error."""
    packing: bool = False
    """Put several rows into one sequence of ``max_length``, each with positions and attention of
    its own: less padding."""
    group_by_length: bool = False
    """Batch rows of similar length: less padding, less random order."""
    data_seed: int | None = None
    """Seed of the row order; the build's seed where not given."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the forward pass: ``auto`` is fp32 on a CPU, bf16 (fp16 on old ones) on a
    GPU."""
    eval_steps: int | None = Field(default=None, ge=1)
    """Measure the validation loss every so many steps; once per epoch where not given."""
    keep: Literal["best", "last"] | None = None
    """Keep the weights with the lowest validation loss or the last ones; ``best`` where there is
    a validation split."""
    early_stopping_patience: int | None = Field(default=None, ge=1)
    """Stop after so many measurements without a lower validation loss."""
    early_stopping_threshold: float = Field(default=0.0, ge=0)
    """How much lower counts as lower."""

    @model_validator(mode="after")
    def _one_length_of_training(self) -> Self:
        if self.epochs is not None and self.max_steps is not None:
            raise ValueError("give epochs or max_steps, not both")
        if self.warmup_ratio is not None and self.warmup_steps is not None:
            raise ValueError("give warmup_ratio or warmup_steps, not both")
        if self.max_steps and self.warmup_steps and self.warmup_steps > self.max_steps:
            raise ValueError("warmup_steps is more than max_steps")
        if self.packing and self.group_by_length:
            raise ValueError("packing already fills the sequences; remove group_by_length")
        return self

    def problems_with(self, spec: DataSpec) -> list[str]:
        """Return what of these parameters the data set ``spec`` cannot serve."""
        sequences = spec.sequences
        if sequences is not None and self.max_length < sequences.length:
            return [
                f"max_length {self.max_length} is less than sequences.length "
                f"{sequences.length}, which is what counts; raise it"
            ]
        if spec.validates:
            return []
        needs = []
        if self.keep == "best":
            needs.append('keep = "best"')
        if self.early_stopping_patience is not None:
            needs.append("early_stopping_patience")
        if self.eval_steps is not None:
            needs.append("eval_steps")
        return [f"{name} needs a validation split; set split.validation above 0" for name in needs]


class LoraParams(AdapterShape, Training, ModelLoading):
    """Fine-tuning with a low-rank adapter. The defaults suit a few hundred to a few thousand short
    rows."""

    @model_validator(mode="after")
    def _combinations(self) -> Self:
        if self.layers is not None and (
            isinstance(self.target_modules, str) and self.target_modules != "all-linear"
        ):
            raise ValueError("layers needs target_modules as names; put the layer into the regex")
        if isinstance(self.target_modules, tuple) and not self.target_modules:
            raise ValueError("target_modules is empty: nothing would be trained")
        both = set(self.modules_to_save or ()) & set(
            self.target_modules if isinstance(self.target_modules, tuple) else ()
        )
        if both:
            raise ValueError(
                f"{', '.join(sorted(both))} in both target_modules and modules_to_save"
            )
        return self


class QloraParams(LoraParams):
    """Fine-tuning with an adapter over a base that is quantized to 4 bits (QLoRA, arXiv
    2305.14314)."""

    quant_type: Literal["nf4", "fp4"] = "nf4"
    """4-bit number format of the base while training."""
    double_quant: bool = True
    """Quantize the quantization scales too: about 0.4 bit less per weight."""
    compute_dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format the 4-bit weights are multiplied in; ``auto`` follows ``precision``."""
    skip_modules: tuple[str, ...] = ("lm_head",)
    """Layers that are not quantized."""


class MergeParams(ModelLoading):
    """Into what, and in which number format."""

    into: Literal["auto", "original", "dequantized"] = "auto"
    """Base of a QLoRA adapter: ``dequantized`` are the weights it was trained over (the loss stays
    as measured), ``original`` those before quantization. ``auto`` is ``dequantized`` for QLoRA,
    ``original`` for LoRA."""
    dtype: Literal["base", "fp32", "bf16", "fp16"] = "base"
    """Number format of the merged weights; the merge itself is in fp32."""
