"""The fine-tuning that ``lora`` and ``qlora`` share."""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from pipeline.data.parts import parts_of, seen_texts
from pipeline.data.tokenize import Codec, pack
from pipeline.passes.base import Inputs, StepError
from pipeline.training.adapter import add_adapter, save_adapter, trainable, whole_modules
from pipeline.training.determinism import prepare
from pipeline.training.fingerprint import save_fingerprint
from pipeline.training.loading import load_model, load_tokenizer
from pipeline.training.params import LoraParams, QloraParams
from pipeline.training.quantization import BaseQuantization
from pipeline.training.rows import token_count, training_rows

if TYPE_CHECKING:
    from transformers import TrainingArguments

DEFAULT_STEPS = 400
FEWEST_EPOCHS, MOST_EPOCHS = 3, 10
"""Without ``epochs`` and ``max_steps``: what makes about that many steps, within these epochs."""
DEFAULT_WARMUP = 0.06
_LOGS = 50
"""About how many points a loss curve has."""


def finetune(inputs: Inputs, params: LoraParams, out_dir: Path) -> dict[str, JsonValue]:
    """Train an adapter on the training part, choose by the validation part, write it.

    Raises :class:`StepError` for parameters the model, the data or this machine cannot serve.
    """
    import torch
    from transformers import PrinterCallback, Trainer

    from pipeline.training.batches import PackedBatches, PaddedBatches, bins_of, rows_of
    from pipeline.training.callbacks import Progress, Selection

    prepare(inputs.seed, inputs.threads)
    parts = parts_of(inputs)
    data = inputs.data
    if data is None or not parts.train:
        raise StepError("there is no row to train on", "lower split.eval", "bad_input")
    if problems := params.problems_with(data.spec):
        raise StepError("; ".join(problems), cause="bad_input")
    if leaked := seen_texts(parts):
        inputs.report.warn(f"{leaked} of {len(parts.eval)} held-out rows are trained on too")
    tokenizer = load_tokenizer(inputs["model"], params.trust_remote_code)
    codec = Codec(tokenizer)
    train = training_rows("training", parts.train, codec, data.spec, params, inputs.report)
    validation = training_rows(
        "validation", parts.validation, codec, data.validation_spec, params, inputs.report
    )
    precision = _precision(params.precision)
    model, quantization = _base(inputs["model"], params, precision)
    model = add_adapter(model, params)
    if params.gradient_checkpointing:
        model.enable_input_require_grads()
    if params.packing:
        train_set = bins_of(pack(train.rows, params.max_length))
        eval_set = bins_of(pack(validation.rows, params.max_length))
    else:
        train_set, eval_set = rows_of(train.rows), rows_of(validation.rows)
    progress = Progress(inputs.report)
    keep_best = params.keep != "last" and bool(eval_set)
    selection = Selection(
        model, keep_best, params.early_stopping_patience, params.early_stopping_threshold
    )
    collate = PackedBatches if params.packing else PaddedBatches
    with tempfile.TemporaryDirectory(dir=out_dir) as scratch:
        evaluates = bool(eval_set)
        trainer = Trainer(
            model=model,
            args=_arguments(params, precision, inputs.seed, len(train_set), evaluates, scratch),
            train_dataset=train_set,
            eval_dataset=eval_set or None,
            data_collator=collate(tokenizer.pad_token_id),
            processing_class=tokenizer,
            callbacks=[progress, selection] if eval_set else [progress],
        )
        trainer.remove_callback(PrinterCallback)
        began = time.perf_counter()
        _train(trainer)
        seconds = time.perf_counter() - began
    losses = [loss for _, loss in progress.train_curve]
    if not all(map(math.isfinite, losses)):
        raise StepError("the training loss is not a number", "lower learning_rate")
    selection.restore()
    save_adapter(model, out_dir)
    save_fingerprint(inputs["model"], out_dir)
    if quantization is not None:
        quantization.save(out_dir)
    seen = trainer.state.global_step * params.batch_size * params.gradient_accumulation
    return {
        "steps": trainer.state.global_step,
        "epochs": round(float(trainer.state.epoch or 0), 3),
        "train_loss": losses[-1] if losses else None,
        "validation_loss": selection.best_loss if selection.best_step is not None else None,
        "train_loss_curve": [list(point) for point in progress.train_curve],
        "validation_loss_curve": [list(point) for point in progress.validation_curve],
        "best_step": selection.best_step,
        "kept": "best" if keep_best else "last",
        "stopped_early": selection.stopped_early,
        "tokens_per_second": round(seen / len(train_set) * token_count(train) / seconds, 1),
        "modules_to_save": list(whole_modules(model, params)),
        "trainable_parameters": sum(weight.numel() for weight in trainable(model).values()),
        "parameters": model.num_parameters(),
        "train_rows": train.used,
        "validation_rows": validation.used,
        "train_sequences": len(train.rows),
        "validation_sequences": len(validation.rows),
        "train_tokens": token_count(train),
        "validation_tokens": token_count(validation),
        "shortened_rows": train.shortened + validation.shortened,
        "left_out_rows": train.left_out + validation.left_out,
        "precision": precision,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }


def _precision(wanted: str) -> str:
    import torch

    gpu = torch.cuda.is_available()
    if wanted == "auto":
        if not gpu:
            return "fp32"
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if wanted == "fp16" and not gpu:
        raise StepError("fp16 training needs a GPU", "use bf16 or fp32", "bad_input")
    return wanted


def _base(folder: Path, params: LoraParams, precision: str) -> tuple[Any, BaseQuantization | None]:
    """Return the frozen base, quantized for QLoRA, and how."""
    import torch

    # fp16 weights would underflow in training; autocast takes care of fp16 arithmetic.
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    if not isinstance(params, QloraParams):
        return load_model(folder, params, dtype), None
    from peft import prepare_model_for_kbit_training

    names = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    compute = names[precision if params.compute_dtype == "auto" else params.compute_dtype]
    quantization = BaseQuantization(
        quant_type=params.quant_type,
        double_quant=params.double_quant,
        skip_modules=params.skip_modules,
        weights_dtype="bfloat16" if precision == "bf16" else "float32",
    )
    model = load_model(folder, params, dtype, quantization.config(compute))
    quantization.keep_trainable(model)
    return prepare_model_for_kbit_training(
        model, use_gradient_checkpointing=params.gradient_checkpointing
    ), quantization


def _arguments(
    params: LoraParams, precision: str, seed: int, rows: int, evaluates: bool, scratch: str
) -> TrainingArguments:
    import torch
    from transformers import TrainingArguments

    per_epoch = math.ceil(rows / (params.batch_size * params.gradient_accumulation))
    usual = min(max(round(DEFAULT_STEPS / per_epoch), FEWEST_EPOCHS), MOST_EPOCHS)
    epochs = params.epochs or float(usual)
    steps = params.max_steps or math.ceil(per_epoch * epochs)
    if params.warmup_steps is not None:
        warmup = params.warmup_steps
    else:
        ratio = DEFAULT_WARMUP if params.warmup_ratio is None else params.warmup_ratio
        warmup = math.ceil(steps * ratio)
    every = "steps" if params.eval_steps is not None else "epoch"
    return TrainingArguments(
        output_dir=scratch,
        per_device_train_batch_size=params.batch_size,
        per_device_eval_batch_size=params.eval_batch_size,
        gradient_accumulation_steps=params.gradient_accumulation,
        activation_checkpointing=params.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        num_train_epochs=epochs,
        max_steps=params.max_steps or -1,
        learning_rate=params.learning_rate,
        lr_scheduler_type=params.scheduler,
        lr_scheduler_kwargs=dict(params.scheduler_kwargs),
        warmup_steps=warmup,
        optim=params.optimizer,
        adam_beta1=params.adam_beta1,
        adam_beta2=params.adam_beta2,
        adam_epsilon=params.adam_epsilon,
        weight_decay=params.weight_decay,
        max_grad_norm=params.max_grad_norm,
        label_smoothing_factor=params.label_smoothing,
        neftune_noise_alpha=params.neftune_alpha,
        train_sampling_strategy="group_by_length" if params.group_by_length else "random",
        seed=seed,
        data_seed=seed if params.data_seed is None else params.data_seed,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=not torch.cuda.is_available(),
        eval_strategy=every if evaluates else "no",
        eval_steps=params.eval_steps,
        logging_steps=max(1, steps // _LOGS),
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        label_names=["labels"],
        prediction_loss_only=True,
    )


def _train(trainer: Any) -> None:
    import torch

    try:
        trainer.train()
    except torch.OutOfMemoryError as error:
        raise StepError(
            f"the GPU's memory is full: {error}",
            "lower batch_size or max_length, or set gradient_checkpointing = true",
            "out_of_memory",
        ) from error
    except (TypeError, ValueError) as error:
        if "scheduler" in str(error) or "get_" in str(error):
            message = f"the scheduler refuses its arguments: {error}"
            raise StepError(message, cause="bad_input") from error
        raise
