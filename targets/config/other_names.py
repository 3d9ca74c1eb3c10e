"""Names that other tools have for keys of a build config."""

from __future__ import annotations

from collections.abc import Collection, Mapping

_NAMES: Mapping[str, tuple[str, ...]] = {
    # PEFT, Axolotl, LLaMA-Factory, Unsloth
    "rank": ("r",),
    "lora_r": ("r",),
    "lora_rank": ("r",),
    "lora_alpha": ("alpha",),
    "lora_dropout": ("dropout",),
    "lora_target_modules": ("target_modules",),
    "target": ("target_modules",),
    "sequence_len": ("max_length",),
    "max_seq_length": ("max_length",),
    "max_seq_len": ("max_length",),
    "cutoff_len": ("max_length",),
    "micro_batch_size": ("batch_size",),
    "sample_packing": ("packing",),
    # transformers' TrainingArguments
    "lr": ("learning_rate",),
    "num_epochs": ("epochs",),
    "num_train_epochs": ("epochs",),
    "per_device_train_batch_size": ("batch_size",),
    "train_batch_size": ("batch_size",),
    "per_device_eval_batch_size": ("eval_batch_size",),
    "gradient_accumulation_steps": ("gradient_accumulation",),
    "accumulation": ("gradient_accumulation",),
    "lr_scheduler_type": ("scheduler",),
    "lr_scheduler": ("scheduler",),
    "optim": ("optimizer",),
    "label_smoothing_factor": ("label_smoothing",),
    "neftune_noise_alpha": ("neftune_alpha",),
    "early_stopping": ("early_stopping_patience",),
    # data sets and models
    "file": ("path",),
    "data_files": ("path",),
    "dataset": ("path", "hub"),
    "input": ("prompt",),
    "output": ("completion",),
    "response": ("completion",),
    "target_column": ("label",),
    "base_model": ("source",),
    "model_path": ("source",),
    # quantization
    "bits": ("precision",),
    "group_size": ("block_size",),
}


def other_name(word: str, known: Collection[str]) -> str:
    """Return the key of ``known`` that others call ``word``; empty if there is none."""
    return next((name for name in _NAMES.get(word.casefold(), ()) if name in known), "")
