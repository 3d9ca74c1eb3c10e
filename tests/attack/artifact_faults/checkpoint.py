"""Faults of the checkpoint that an artifact is built from: what a merge may do to it.

They are planted before the model builder runs, so that artifact and checkpoint agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .model_folder import (
    TEMPLATE_FILE,
    TOKENIZER_FILE,
    TOKENS_FILE,
    Fault,
    InapplicableError,
    changed_json,
    changed_text,
    written,
)

_CONFIG, _ANSWERS = "config.json", "generation_config.json"
_WEIGHTS = "model.safetensors"
_UNTRAINED = "model.layers.1.input_layernorm.weight"
"""A tensor that no adapter of the tests changes."""
_TRAINED = "model.layers.1.self_attn.qkv_proj.weight"
_RARE = -60
"""Row of a token that the tests' texts do not hold."""


def _config(**settings: Any) -> Fault:
    return changed_json(_CONFIG, lambda config: config.update(settings))


def _answers(**settings: Any) -> Fault:
    return changed_json(_ANSWERS, lambda config: config.update(settings))


def _last_end_gone(answers: Any) -> None:
    if not isinstance(answers["eos_token_id"], list):
        raise InapplicableError("it has one end")
    answers["eos_token_id"].pop()


def _other_base_of_positions(config: Any) -> None:
    rotary = config.get("rope_parameters") or config
    rotary["rope_theta"] *= 1.001


def _finer_epsilon(config: Any) -> None:
    config["rms_norm_eps"] /= 10


def _longer_context(config: Any) -> None:
    config["max_position_embeddings"] *= 2


def _end_not_special(content: Any) -> None:
    content["added_tokens"][-1]["special"] = False


def _lower_case(content: Any) -> None:
    content["normalizer"] = {"type": "Lowercase"}


def _without_system(text: str) -> str:
    return text.replace("in messages", "in messages if m['role'] != 'system'")


def _in_tensor(name: str, change: Callable[[Any], object]) -> Fault:
    """Return what changes a tensor in place."""

    def plant(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        weights = load_file(folder / _WEIGHTS)
        before = weights[name].clone()
        change(weights[name])
        if weights[name].equal(before):
            raise InapplicableError(f"{name} is like that already")
        save_file(weights, folder / _WEIGHTS, metadata={"format": "pt"})

    return plant


def _a_little_larger(numbers: Any) -> None:
    numbers.mul_(1.01)


def _rare_row(numbers: Any) -> None:
    numbers[_RARE] = numbers[40]


def _one_weight(numbers: Any) -> None:
    numbers[3, 5] += 0.01


def _a_thousandth_smaller(numbers: Any) -> None:
    """Change a matrix by less than an adapter does."""
    numbers.mul_(0.999)


CHECKPOINT: Mapping[str, Fault] = {
    "answers_sampled": _answers(do_sample=True, temperature=1.5),
    "begin_of_text_added": changed_json(
        TOKENS_FILE, lambda tokens: tokens.update(add_bos_token=True)
    ),
    "code_for_the_model": written("modeling_tiny.py", b"import os\n"),
    "end_gone": changed_json(_ANSWERS, _last_end_gone),
    "end_not_special": changed_json(TOKENIZER_FILE, _end_not_special),
    "finer_epsilon": changed_json(_CONFIG, _finer_epsilon),
    "longer_context": changed_json(_CONFIG, _longer_context),
    "lower_case_for_all": changed_json(TOKENIZER_FILE, _lower_case),
    "no_window": _config(sliding_window=None),
    "other_base_of_positions": changed_json(_CONFIG, _other_base_of_positions),
    "other_begin": _config(bos_token_id=2),
    "row_of_a_rare_token": _in_tensor("model.embed_tokens.weight", _rare_row),
    "row_of_a_rare_answer": _in_tensor("lm_head.weight", _rare_row),
    "template_drops_the_system": changed_text(TEMPLATE_FILE, _without_system),
    "trained_matrix_a_little_larger": _in_tensor(_TRAINED, _a_little_larger),
    "trained_matrix_a_thousandth_smaller": _in_tensor(_TRAINED, _a_thousandth_smaller),
    "trained_weight": _in_tensor(_TRAINED, _one_weight),
    "untrained_norm_a_little_larger": _in_tensor(_UNTRAINED, _a_little_larger),
}
