"""Translates LoRA, QLoRA, DoRA, LoHa, LoKr and LoftQ with all of their training arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from targets.config.olive.draft import Draft
from targets.config.olive.node import Fields, Node
from targets.config.olive.training_args import (
    DEFAULTS,
    EVAL_STEPS,
    NO_EFFECT,
    OPTIMIZERS,
    OVER_4_BITS,
    PARAMS,
    REFUSED,
)
from targets.config.source_map import KeyPath

KINDS = {
    "lora": "lora",
    "qlora": "qlora",
    "dora": "lora",
    "loha": "loha",
    "lokr": "lokr",
    "loftq": "loftq",
}
"""Quern's pass for each of Olive's, by its lower-case name."""

_QUANTIZED = ("qlora", "loftq")
_LOW_RANK = ("lora", "qlora", "dora", "loftq")
_DTYPES = {
    "bfloat16": "bf16",
    "bf16": "bf16",
    "float16": "fp16",
    "fp16": "fp16",
    "float32": "fp32",
    "fp32": "fp32",
    "auto": "auto",
}
_OFF = {
    "metric_for_best_model": ("loss", "eval_loss"),
    "train_sampling_strategy": ("random",),
}
"""Values of refused arguments that are what happens here anyway."""
_SEARCH = ("SEARCHABLE_VALUES", "DEFAULT", "DEFAULT_VALUE")


@dataclass(frozen=True)
class TrainingData:
    """Which data sets a fine-tuning pass names, and how it splits them."""

    train: Node | None
    evaluation: Node | None
    size: Node | None
    """``eval_dataset_size``: a share or a number of rows."""
    seed: Node | None
    """Seed of the split and of the order of rows."""
    measures: bool
    """Whether the loss on the evaluation rows is asked for."""

    def settle(self, reason: str) -> None:
        """Record why its keys about the split have no effect."""
        for node in (self.evaluation, self.size, self.seed):
            if node is not None:
                node.no_effect(reason)


def translate_training(kind: str, fields: Fields, place: KeyPath, draft: Draft) -> TrainingData:
    """Write the pass at ``place``, and return its data sets. ``kind`` is lower case."""
    data = fields.take("train_data_config")
    evaluation = fields.take("eval_data_config")
    size = fields.take("eval_dataset_size")
    _adapter(kind, fields, place, draft)
    if kind == "dora":
        draft.set((*place, "use_dora"), True, None, "true: it is the pass DoRA")
    _quantization(kind, fields, place, draft)
    arguments = fields.take("training_args")
    inner = arguments.fields("training_args") if arguments is not None else Fields({}, fields.owner)
    extra = inner.take("extra_args")
    if extra is not None:
        inner.merge(extra.fields("extra_args"))
    dtype = fields.take("torch_dtype")
    _set(fields.take("allow_tf32"), (*place, "tf32"), None, draft)
    defaults = {**DEFAULTS, **(OVER_4_BITS if kind in _QUANTIZED else {})}
    evaluates = evaluation is not None or size is not None
    seed = _arguments(inner, place, draft, dtype, evaluates, defaults)
    fields.ignore(
        {
            "device_map": "training runs on one device",
            "ephemeral_gpu_offload": "it changes speed only",
            "ortmodule_onnx_opset_version": "ORTTrainer is not used",
            "save_quant_config": "the adapter keeps how its base was quantized",
            "training_output_dir": "checkpoints of the training are not kept",
        }
    )
    trainer = fields.take("use_ort_trainer")
    if trainer is not None:
        trainer.no_effect("ORTTrainer changes speed only: PyTorch trains the same adapter")
    return TrainingData(data, evaluation, size, seed, evaluates)


def _adapter(kind: str, fields: Fields, place: KeyPath, draft: Draft) -> None:
    low_rank = kind in _LOW_RANK
    for aliases, key, default in (
        (("r", "lora_r"), "r", 64),
        (("alpha", "lora_alpha"), "alpha", 16),
        (("lora_dropout", "dropout"), "dropout", 0.05),
    ):
        node = fields.take(*aliases)
        if key == "dropout" and not low_rank:
            if node is not None:
                node.refuse(f"{kind} has no dropout of its inputs", "use rank_dropout")
            continue
        _set(node, (*place, key), default, draft)
    # Olive adapts the layers that suit the model's type with LoRA and DoRA, else all linear ones.
    modules = "auto" if kind in ("lora", "dora") else "all-linear"
    _set(fields.take("target_modules"), (*place, "target_modules"), modules, draft)
    _set(fields.take("modules_to_save"), (*place, "modules_to_save"), [], draft)
    for name in ("rank_pattern", "alpha_pattern", "exclude_modules", "layers_pattern"):
        _set(fields.take(name), (*place, name), None, draft)
    names = {
        "lora": ("bias", "use_rslora", "init_lora_weights", "layers_to_transform"),
        "loftq": ("bias", "loftq_iter"),
        "loha": ("rank_dropout", "module_dropout", "init_weights", "layers_to_transform"),
        "lokr": (
            "init_weights",
            "layers_to_transform",
            "rank_dropout",
            "module_dropout",
            "decompose_both",
            "decompose_factor",
            "rank_dropout_scale",
        ),
    }
    for name in names.get(KINDS[kind], names["lora"]):
        key = {"layers_to_transform": "layers"}.get(name, name)
        _set(fields.take(name), (*place, key), None, draft)
    convolution = fields.take("use_effective_conv2d")
    if convolution is not None:
        convolution.no_effect("a text generation model has no convolutions")


def _quantization(kind: str, fields: Fields, place: KeyPath, draft: Draft) -> None:
    double, quant = fields.take("double_quant"), fields.take("quant_type")
    compute, skipped = fields.take("compute_dtype"), fields.take("skip_modules")
    if kind == "qlora":
        _set(double, (*place, "double_quant"), False, draft)
        _set(quant, (*place, "quant_type"), "nf4", draft)
        if compute is not None:
            _dtype(compute, (*place, "compute_dtype"), draft)
        return
    if kind == "loftq" and compute is not None:
        _dtype(compute, (*place, "compute_dtype"), draft)
        compute = None
    for node in (double, quant, compute, skipped):
        if node is not None:
            reason = "LoftQ decides how the base is quantized"
            node.no_effect(
                reason if kind == "loftq" else f"{kind} trains over a base that is not quantized"
            )


def _dtype(node: Node, path: KeyPath, draft: Draft) -> None:
    if node.refuse_placeholder():
        return
    dtype = _DTYPES.get(str(node.raw).removeprefix("torch."))
    if dtype is None:
        node.refuse(f"there is no number format '{node.raw}'", ", ".join(_DTYPES))
    else:
        draft.set(path, dtype, node)


def _set(node: Node | None, path: KeyPath, default: Any, draft: Draft) -> None:
    """Write the value of ``node``; without a node Olive's default, unless that is ``None``."""
    if node is None:
        if default is not None:
            draft.set(path, default, None)
        return
    if node.refuse_placeholder():
        return
    if isinstance(node.raw, str) and node.raw.upper() in _SEARCH:
        node.refuse("a search over its values; Quern has no search yet", "write one value")
        return
    draft.set(path, node.raw, node)


def _arguments(
    fields: Fields,
    place: KeyPath,
    draft: Draft,
    dtype: Node | None,
    evaluates: bool,
    defaults: Mapping[str, object],
) -> Node | None:
    """Write what transformers calls TrainingArguments; return the seed of the data's order."""
    seed, data_seed = fields.take("seed"), fields.take("data_seed")
    _set(seed, ("seed",), 42, draft)
    if data_seed is not None:
        _set(data_seed, (*place, "data_seed"), None, draft)
    _precision(fields, place, draft, dtype)
    _length(fields, place, draft)
    _evaluation(fields, place, draft, evaluates)
    for names, key in PARAMS:
        node = fields.take(*names)
        if key == "optimizer" and node is not None and str(node.raw) in OPTIMIZERS:
            draft.set((*place, key), OPTIMIZERS[str(node.raw)], node)
        else:
            _set(node, (*place, key), defaults.get(key), draft)
    sharding = fields.take("deepspeed")
    if sharding is not None and isinstance(sharding.raw, bool):
        sharding.no_effect("ZeRO parts what one device holds whole; the arithmetic is the same")
    elif sharding is not None:
        sharding.refuse(*REFUSED["deepspeed"])
    warmup = fields.take("warmup_steps")
    ratio = fields.take("warmup_ratio")
    if warmup is not None and warmup.number() != 0:
        _set(warmup, (*place, "warmup_steps"), None, draft)
        if ratio is not None:
            ratio.no_effect("warmup_steps goes first")
    else:
        if warmup is not None:
            warmup.no_effect("0: warmup_ratio rules")
        _set(ratio, (*place, "warmup_ratio"), defaults["warmup_ratio"], draft)
    for part in fields.rest():
        if part.name in NO_EFFECT:
            part.no_effect(NO_EFFECT[part.name])
        elif part.name in REFUSED:
            off = part.raw in (*_OFF.get(part.name, ()), False, None, "", [], {}, 0)
            if off:
                part.no_effect("it is off anyway")
            else:
                part.refuse(*REFUSED[part.name])
        else:
            known = {*NO_EFFECT, *REFUSED, *(name for names, _ in PARAMS for name in names)}
            from pipeline.contract.suggest import did_you_mean

            part.refuse(
                "transformers has no such training argument", did_you_mean(part.name, known)
            )
    return data_seed or seed


def _precision(fields: Fields, place: KeyPath, draft: Draft, dtype: Node | None) -> None:
    half, brain = fields.take("fp16"), fields.take("bf16")
    if dtype is not None:
        _dtype(dtype, (*place, "precision"), draft)
        for node in (half, brain):
            if node is not None:
                node.no_effect("torch_dtype decides the number format")
        return
    for node, name in ((brain, "bf16"), (half, "fp16")):
        value = node.flag() if node is not None else None
        if node is None or value is None:
            continue
        if not value:
            node.no_effect("false: the device decides the number format")
        elif draft.get((*place, "precision")) is not None:
            node.refuse("bf16 says otherwise", "set one of the two")
        else:
            draft.set((*place, "precision"), name, node)


def _length(fields: Fields, place: KeyPath, draft: Draft) -> None:
    """Write how long is trained: ``max_steps`` goes before epochs, as in transformers."""
    steps, epochs = fields.take("max_steps"), fields.take("num_train_epochs")
    count = steps.number() if steps is not None else None
    if steps is not None and (count is None or count > 0):
        if count is not None:
            draft.set((*place, "max_steps"), count, steps)
        if epochs is not None and not epochs.refuse_placeholder():
            epochs.no_effect("max_steps goes first")
        return
    if steps is not None:
        steps.no_effect("not above 0: num_train_epochs rules")
    _set(epochs, (*place, "epochs"), 3.0, draft)


def _evaluation(fields: Fields, place: KeyPath, draft: Draft, evaluates: bool) -> None:
    strategy = fields.take("eval_strategy", "evaluation_strategy")
    steps = fields.take("eval_steps")
    logging = fields.take("logging_steps")
    every = logging.number() if logging is not None else None
    if logging is not None and every is not None and every > 0:
        draft.set((*place, "logging_steps"), every, logging)
    elif logging is not None and every is not None:
        logging.no_effect("about fifty points of the loss curve are kept")
    best = fields.take("load_best_model_at_end")
    if not evaluates:
        for node in (strategy, steps, best):
            if node is not None:
                node.no_effect("no evaluation data is named")
        draft.set((*place, "keep"), "last", None)
        return
    by_epoch = strategy is not None and str(strategy.raw) == "epoch"
    if strategy is not None and str(strategy.raw) not in ("epoch", "steps", "no"):
        if not strategy.refuse_placeholder():
            strategy.refuse(
                f"there is no evaluation strategy '{strategy.raw}'", "steps, epoch or no"
            )
    elif strategy is not None:
        strategy.translated("the loss is measured per epoch" if by_epoch else "eval_steps")
    if by_epoch:
        if steps is not None:
            steps.no_effect("the loss is measured per epoch")
    else:
        _eval_steps(steps, every, place, draft)
    chosen = best.flag() if best is not None else None
    if best is not None and chosen is not None:
        draft.set((*place, "keep"), "best" if chosen else "last", best)
    else:
        draft.set((*place, "keep"), "last", None)


def _eval_steps(
    steps: Node | None, logging: int | float | None, place: KeyPath, draft: Draft
) -> None:
    path = (*place, "eval_steps")
    if steps is not None and steps.number() != 0:
        _set(steps, path, None, draft)
        return
    if steps is not None:
        steps.no_effect("0: as if it were not there")
    if logging is not None and logging > 0:
        draft.set(path, logging, None, f"{logging}: as logging_steps")
    else:
        draft.set(path, EVAL_STEPS, None)
