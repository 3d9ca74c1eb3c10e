"""The fine-tuning that all passes share which train on data."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from pipeline.contract.errors import StepError
from pipeline.contract.step import Inputs, Reporter
from pipeline.data.packing import pack
from pipeline.data.tokenize import Codec
from pipeline.data.tokenizer import load_tokenizer
from pipeline.data.trained_view import METRIC
from pipeline.process.environment import is_first_rank
from pipeline.process.heap import kept_heap
from pipeline.training.adapter import trainable
from pipeline.training.determinism import prepare
from pipeline.training.full_params import FullFinetuneParams
from pipeline.training.loading import require_finite_weights
from pipeline.training.named_kernels import named_kernels, unheld
from pipeline.training.optimizers import available_optimizer, format_arguments
from pipeline.training.params import QUANTIZED, TOKENS, FinetuneParams
from pipeline.training.prepared_rows import kept_rows, prepare_rows
from pipeline.training.trainee import Trainee, adapter, whole_model
from pipeline.training.training_rows import token_count

if TYPE_CHECKING:
    from transformers import TrainingArguments

AnyFinetuneParams = FinetuneParams | FullFinetuneParams

DEFAULT_STEPS = 400
FEWEST_EPOCHS, MOST_EPOCHS = 3, 10
"""Range of the default of ``epochs``, which aims at :data:`DEFAULT_STEPS`."""
DEFAULT_WARMUP = 0.06
_LOGS = 50
"""About how many points a loss curve has."""


def finetune(inputs: Inputs, params: AnyFinetuneParams, out_dir: Path) -> dict[str, JsonValue]:
    """Train on the training part, select weights by the validation part, and write them: as an
    adapter, or as a checkpoint if ``params`` are those of a full fine-tune. Of several processes
    that train together, the first one writes.

    Raises :class:`StepError` for parameters that do not suit the model, the data or this machine.
    """
    seed = inputs.seed if params.seed is None else params.seed
    prepare(seed, inputs.threads)
    with named_kernels(inputs.threads), kept_heap():
        return _finetune(inputs, params, seed, out_dir)


def _finetune(
    inputs: Inputs, params: AnyFinetuneParams, seed: int, out_dir: Path
) -> dict[str, JsonValue]:
    import torch
    from transformers import PrinterCallback

    from pipeline.training.batches import PackedBatches, PackedRows, PaddedBatches, PaddedRows
    from pipeline.training.callbacks import BestWeights, Progress
    from pipeline.training.packing_fit import require_rows_apart
    from pipeline.training.resumption import Resumption
    from pipeline.training.snapshots import Snapshots
    from pipeline.training.throughput import Throughput
    from pipeline.training.trainer import MeasuredTrainer

    throughput = Throughput()
    if inputs.data is None:
        raise StepError("this step needs a data set", "add a [data.<name>] section", "bad_input")
    spec = inputs.data.spec
    if problems := params.problems_with(spec):
        raise StepError("; ".join(problems), cause="bad_input")
    tokenizer = load_tokenizer(inputs["model"], params.trust_remote_code)
    if TOKENS in inputs.paths:
        train, validation, view = kept_rows(inputs[TOKENS], inputs.metrics[TOKENS])
    else:
        train, validation, view = prepare_rows(inputs, Codec(tokenizer), params)
    if view.words:
        inputs.report.note(view.words)
    precision = _precision(params.precision)
    if QUANTIZED not in inputs.paths:  # the step that made it has looked
        require_finite_weights(inputs["model"])
    trainee = _trainee(inputs, params, precision)
    model = trainee.model
    for words in unheld(model):
        inputs.report.warn(words)
    if params.gradient_checkpointing:
        model.enable_input_require_grads()
    train_set: PackedRows | PaddedRows
    eval_set: PackedRows | PaddedRows
    if params.packing:
        require_rows_apart(model)
        train_set, eval_set = (
            PackedRows(rows, pack(rows.lengths, params.max_length))
            for rows in (train.rows, validation.rows)
        )
    else:
        train_set, eval_set = PaddedRows(train.rows), PaddedRows(validation.rows)
    progress = Progress(inputs.report, throughput)
    measured = spec if eval_set else None
    keep_best = measured is not None and params.keeps_best(measured)
    selection = BestWeights(
        model, keep_best, params.early_stopping_patience, params.early_stopping_threshold
    )
    collate = PackedBatches if params.packing else PaddedBatches
    snapshots = Snapshots(inputs.unfinished, params.save_steps, inputs.report)
    resumption = Resumption(snapshots, progress, selection, throughput, params.group_by_length)
    snapshot = snapshots.latest()
    if snapshot is not None:
        resumption.restore(snapshot)
    with tempfile.TemporaryDirectory(dir=out_dir) as scratch:
        evaluates = bool(eval_set)
        folder = scratch if inputs.unfinished is None else str(inputs.unfinished)
        arguments = _arguments(
            params, precision, seed, len(train_set), evaluates, folder, inputs.report
        )
        if snapshot is not None:
            arguments.eval_on_start = False
        trainer = MeasuredTrainer(
            throughput=throughput,
            progress=progress,
            model=model,
            args=arguments,
            train_dataset=train_set,
            eval_dataset=eval_set or None,
            data_collator=collate(tokenizer.pad_token_id),
            processing_class=tokenizer,
            callbacks=[progress, *([selection] if eval_set else []), resumption],
        )
        trainer.remove_callback(PrinterCallback)
        mean_loss = _train(trainer, snapshot)
        cost = throughput.figures()
    losses = [loss for _, loss in progress.train_curve]
    if not all(map(math.isfinite, [*losses, mean_loss])):
        raise StepError("the training loss is not a number", "lower learning_rate", "bad_input")
    selection.put_back()
    if is_first_rank(os.environ):
        trainee.save(out_dir)
    return {
        "steps": trainer.state.global_step,
        "epochs": round(float(trainer.state.epoch or 0), 3),
        "train_loss": losses[-1] if losses else mean_loss,
        "validation_loss": selection.best_loss if selection.best_step is not None else None,
        "train_loss_curve": [list(point) for point in progress.train_curve],
        "validation_loss_curve": [list(point) for point in progress.validation_curve],
        "best_step": selection.best_step,
        "kept": "best" if keep_best else "last",
        "chosen_by": None if measured is None else params.chosen_by(measured),
        "stopped_early": selection.stopped_early,
        **cost,
        **trainee.metrics,
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
        METRIC: view.model_dump(mode="json"),
    }


def _trainee(inputs: Inputs, params: AnyFinetuneParams, precision: str) -> Trainee:
    if isinstance(params, FullFinetuneParams):
        return whole_model(inputs["model"], params)
    return adapter(inputs["model"], params, precision, inputs.paths.get(QUANTIZED))


def _precision(requested: str) -> str:
    import torch

    gpu = torch.cuda.is_available()
    if requested == "auto":
        if not gpu:
            return "fp32"
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if requested == "fp16" and not gpu:
        raise StepError("fp16 training needs a GPU", "use bf16 or fp32", "bad_input")
    return requested


def _arguments(
    params: AnyFinetuneParams,
    precision: str,
    seed: int,
    rows: int,
    evaluates: bool,
    folder: str,
    report: Reporter,
) -> TrainingArguments:
    import torch
    from transformers import TrainingArguments
    from transformers.utils import is_torch_tf32_available

    per_epoch = _steps_per_epoch(params, rows)
    usual = min(max(round(DEFAULT_STEPS / per_epoch), FEWEST_EPOCHS), MOST_EPOCHS)
    epochs = params.epochs or float(usual)
    steps = params.max_steps or math.ceil(per_epoch * epochs)
    if params.warmup_steps is not None:
        warmup = params.warmup_steps
    else:
        ratio = DEFAULT_WARMUP if params.warmup_ratio is None else params.warmup_ratio
        warmup = math.ceil(steps * ratio)
    logs = params.logging_steps
    every = "steps" if params.eval_steps is not None else "epoch"
    return TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=params.pass_rows,
        per_device_eval_batch_size=params.eval_batch_size,
        gradient_accumulation_steps=params.passes_per_step,
        ddp_backend=None if torch.cuda.is_available() or params.gpus == 1 else "gloo",
        ddp_find_unused_parameters=False if params.gpus > 1 else None,
        activation_checkpointing=params.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        num_train_epochs=epochs,
        max_steps=params.max_steps or -1,
        learning_rate=params.learning_rate,
        lr_scheduler_type=params.scheduler,
        lr_scheduler_kwargs=dict(params.scheduler_kwargs),
        warmup_steps=warmup,
        optim=available_optimizer(params.optimizer, report),
        optim_args=format_arguments(params.optimizer_kwargs),
        adam_beta1=params.adam_beta1,
        adam_beta2=params.adam_beta2,
        adam_epsilon=params.adam_epsilon,
        weight_decay=params.weight_decay,
        max_grad_norm=params.max_grad_norm,
        label_smoothing_factor=params.label_smoothing,
        neftune_noise_alpha=params.neftune_alpha,
        train_sampling_strategy=_order(params),
        dataloader_drop_last=params.drop_last,
        seed=seed,
        data_seed=seed if params.data_seed is None else params.data_seed,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        # Asking a device that has no TF32 for it is an error.
        tf32=True if params.tf32 and is_torch_tf32_available() else None,
        use_cpu=not torch.cuda.is_available(),
        eval_strategy=every if evaluates else "no",
        eval_steps=params.eval_steps,
        eval_delay=params.eval_delay,
        eval_on_start=params.eval_on_start and evaluates,
        logging_strategy="epoch" if params.logging_steps == "epoch" else "steps",
        logging_steps=max(1, steps // _LOGS) if logs in (None, "epoch") else logs,
        logging_first_step=params.logging_first_step,
        # The filter would replace NaN and infinite losses by means, and so hide them.
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        label_names=["labels"],
        prediction_loss_only=True,
    )


def _steps_per_epoch(params: AnyFinetuneParams, rows: int) -> int:
    """Return the number of optimizer steps per epoch. Raises :class:`StepError` if it is zero."""
    full, left = divmod(rows, params.pass_rows)
    batches = full + (1 if left and not params.drop_last else 0)
    if batches == 0:
        raise StepError(
            f"{rows} training rows make no full batch of {params.pass_rows}",
            "lower batch_size, or remove drop_last",
            "bad_input",
        )
    return math.ceil(batches / (params.passes_per_step * params.gpus))


def _order(params: AnyFinetuneParams) -> str:
    """Return transformers' name for the order of the rows."""
    if params.group_by_length:
        return "group_by_length"
    return "random" if params.shuffle else "sequential"


def _train(trainer: Any, snapshot: Path | None) -> float:
    """Train, from ``snapshot`` on if there is one; return the mean loss over the steps."""
    import torch

    try:
        return float(trainer.train(snapshot and str(snapshot)).training_loss)
    except torch.OutOfMemoryError as error:
        raise StepError(
            f"the GPU's memory is full: {error}",
            "lower batch_size or max_length, or set gradient_checkpointing = true",
            "out_of_memory",
        ) from error
    except (TypeError, ValueError) as error:
        if any(sign in str(error) for sign in ("scheduler", "get_", "LR")):
            message = f"the scheduler refuses its arguments: {error}"
            raise StepError(message, cause="bad_input") from error
        raise
