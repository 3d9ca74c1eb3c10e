"""The arguments of transformers' Trainer that Olive accepts, and their equivalents in Quern.

Names of transformers 4.30 to 5; https://huggingface.co/docs/transformers/main_classes/trainer
"""

from __future__ import annotations

PARAMS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("per_device_train_batch_size", "train_batch_size", "per_gpu_train_batch_size"),
        "batch_size",
    ),
    (
        ("per_device_eval_batch_size", "eval_batch_size", "per_gpu_eval_batch_size"),
        "eval_batch_size",
    ),
    (("gradient_accumulation_steps",), "gradient_accumulation"),
    (("gradient_checkpointing", "activation_checkpointing"), "gradient_checkpointing"),
    (("learning_rate",), "learning_rate"),
    (("lr_scheduler_type",), "scheduler"),
    (("lr_scheduler_kwargs",), "scheduler_kwargs"),
    (("optim",), "optimizer"),
    (("adam_beta1",), "adam_beta1"),
    (("adam_beta2",), "adam_beta2"),
    (("adam_epsilon",), "adam_epsilon"),
    (("weight_decay",), "weight_decay"),
    (("max_grad_norm",), "max_grad_norm"),
    (("label_smoothing_factor",), "label_smoothing"),
    (("neftune_noise_alpha",), "neftune_alpha"),
    (("group_by_length",), "group_by_length"),
    (("tf32",), "tf32"),
    (("dataloader_drop_last",), "drop_last"),
    (("logging_first_step",), "logging_first_step"),
    (("eval_delay",), "eval_delay"),
    (("eval_on_start",), "eval_on_start"),
)
"""Names there, and the parameter of a fine-tuning pass that is the same."""

DEFAULTS: dict[str, object] = {
    "batch_size": 8,
    "eval_batch_size": 8,
    "gradient_accumulation": 1,
    "gradient_checkpointing": True,
    "learning_rate": 2e-4,
    "scheduler": "constant",
    "optimizer": "adamw_torch",
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "warmup_ratio": 0.03,
}
"""What Olive 0.13 trains with where a file says nothing, with transformers 5."""

OVER_4_BITS = {"optimizer": "paged_adamw_32bit"}
"""What is another default of QLoRA and LoftQ."""

EVAL_STEPS = 500
"""Steps between two evaluations where a file says nothing: as transformers' ``logging_steps``."""

_CHECKPOINTS = "snapshots of the training are kept every ten minutes until it has ended"
_LOGGING = "progress, losses and figures are in the report"
_ONE = "training runs in one process on one device"
_LOADER = "it changes speed only"
_HUB = "nothing is uploaded"

NO_EFFECT = {
    **dict.fromkeys(
        (
            "output_dir",
            "overwrite_output_dir",
            "save_steps",
            "save_strategy",
            "save_total_limit",
            "save_safetensors",
            "save_on_each_node",
            "save_only_model",
            "restore_callback_states_from_checkpoint",
            "enable_jit_checkpoint",
        ),
        _CHECKPOINTS,
    ),
    **dict.fromkeys(
        (
            "report_to",
            "logging_dir",
            "logging_strategy",
            "logging_nan_inf_filter",
            "log_level",
            "log_level_replica",
            "log_on_each_node",
            "run_name",
            "disable_tqdm",
            "include_num_input_tokens_seen",
            "include_tokens_per_second",
            "skip_memory_metrics",
            "trackio_bucket_id",
            "trackio_static_space_id",
            "debug",
            "tpu_metrics_debug",
            "project",
            "trackio_space_id",
        ),
        _LOGGING,
    ),
    **dict.fromkeys(
        (
            "ddp_backend",
            "ddp_find_unused_parameters",
            "ddp_bucket_cap_mb",
            "ddp_broadcast_buffers",
            "ddp_timeout",
            "ddp_static_graph",
            "fsdp",
            "fsdp_config",
            "fsdp_min_num_params",
            "fsdp_transformer_layer_cls_to_wrap",
            "sharded_ddp",
            "xla",
            "local_rank",
            "no_cuda",
            "use_cpu",
            "use_mps_device",
            "tpu_num_cores",
            "parallelism_config",
        ),
        _ONE,
    ),
    **dict.fromkeys(
        (
            "dataloader_num_workers",
            "dataloader_pin_memory",
            "dataloader_prefetch_factor",
            "dataloader_persistent_workers",
            "torch_empty_cache_steps",
            "half_precision_backend",
            "fp16_opt_level",
            "fp16_backend",
            "fp16_full_eval",
            "bf16_full_eval",
            "torchdynamo",
            "torch_compile",
            "torch_compile_backend",
            "torch_compile_mode",
            "eval_accumulation_steps",
            "gradient_checkpointing_kwargs",
            "activation_checkpointing_kwargs",
            "dataloader_multiprocessing_context",
            "dataloader_in_order",
            "jit_mode_eval",
            "use_ipex",
            "use_liger_kernel",
            "liger_kernel_config",
        ),
        _LOADER,
    ),
    **dict.fromkeys(
        (
            "push_to_hub",
            "push_to_hub_model_id",
            "push_to_hub_organization",
            "push_to_hub_token",
            "hub_model_id",
            "hub_strategy",
            "hub_token",
            "hub_private_repo",
            "hub_always_push",
            "hub_revision",
        ),
        _HUB,
    ),
    "do_train": "the pass trains",
    "do_eval": "evaluation follows from the evaluation data",
    "do_predict": "the checks ask the model",
    "batch_eval_metrics": "only the loss is measured while training",
    "include_inputs_for_metrics": "only the loss is measured while training",
    "include_for_metrics": "only the loss is measured while training",
    "eval_use_gather_object": _ONE,
    "eval_do_concat_batches": "only the loss is measured while training",
    "auto_find_batch_size": "the batch size is kept; where memory is full, an error says so",
    "use_cache": "no answers are generated while training",
    "ignore_data_skip": "training begins at the beginning",
    "prediction_loss_only": "only the loss is measured while training",
    "past_index": "a causal model has no such output",
    "remove_unused_columns": "only token ids reach the model",
    "label_names": "labels are called labels",
    "full_determinism": "training is deterministic anyway",
    "average_tokens_across_devices": _ONE,
    "split_batches": _ONE,
    "dispatch_batches": _ONE,
    "length_column_name": "lengths are counted",
    "mp_parameters": _ONE,
    "accelerator_config": _ONE,
    "ray_scope": "hyperparameters are not searched",
    "greater_is_better": "the lowest loss is the best",
}
"""Arguments that change nothing here, and why."""

REFUSED: dict[str, tuple[str, str]] = {
    "deepspeed": ("a DeepSpeed config may name an optimizer of its own", "write its values here"),
    "resume_from_checkpoint": ("a pass begins from its inputs alone", "remove it"),
    "metric_for_best_model": ("only the loss chooses a checkpoint", 'remove it or write "loss"'),
    "optim_args": ("Quern has no such parameter", "use adam_beta1, adam_beta2, adam_epsilon"),
    "optim_target_modules": ("Quern has no such optimizer", "remove it"),
    "adafactor": ("an old name", 'write "optim": "adafactor"'),
    "use_legacy_prediction_loop": ("it is gone from transformers", "remove it"),
    "sortish_sampler": ("Quern has no such order of rows", "use group_by_length"),
    "predict_with_generate": ("the checks generate", "remove it"),
    "train_sampling_strategy": ("an order of rows", "use group_by_length"),
}
"""Arguments that would change the result and that Quern cannot serve: the reason and what to do.
Where they are off they have no effect."""

OPTIMIZERS = {
    "adamw_8bit": "adamw_bnb_8bit",
    "adamw_apex_fused": "adamw_torch_fused",
    "adamw_hf": "adamw_torch",
    "adamw_torch_npu_fused": "adamw_torch",
    "adamw_torch_xla": "adamw_torch",
    "lion": "lion_32bit",
    "paged_adamw": "paged_adamw_32bit",
    "paged_lion": "paged_lion_32bit",
}
"""Other names of an optimizer that Quern has."""
