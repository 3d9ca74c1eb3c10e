"""How answers are chosen: one decision for base, tuned model and artifact.

The most probable token follows each time, with the checkpoint's repetition penalty. So a prompt
always has the same answer, and the models that are compared are asked alike. This is also what an
artifact is shipped with, unless ``search`` of ``model_builder`` has it otherwise. Settings of
sampling (temperature, ``top_k``, ``top_p``) are shipped as the checkpoint has them, for programs
that turn sampling on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

GREEDY: Mapping[str, bool | int] = {
    "do_sample": False,
    "num_beams": 1,
    "num_return_sequences": 1,
    "min_length": 0,
    "no_repeat_ngram_size": 0,
}
"""Search options of ONNX Runtime GenAI that make it answer greedily."""

PENALTY = "repetition_penalty"

_CHANGE_ANSWERS: Mapping[str, tuple[Any, ...]] = {
    "num_beams": (1,),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "no_repeat_ngram_size": (0,),
    "encoder_repetition_penalty": (1.0,),
    "encoder_no_repeat_ngram_size": (0,),
    "bad_words_ids": ([],),
    "suppress_tokens": ([],),
    "begin_suppress_tokens": ([],),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "sequence_bias": ({}, []),
    "exponential_decay_length_penalty": (),
    "guidance_scale": (1.0,),
    "penalty_alpha": (0.0,),
    "dola_layers": (),
    "stop_strings": ([],),
    "constraints": ([],),
    "force_words_ids": ([],),
}
"""Settings of transformers that change greedy answers, and the values with which they do not.
``length_penalty``, ``early_stopping`` and ``diversity_penalty`` only matter with several beams.
Their list: https://huggingface.co/docs/transformers/main_classes/text_generation"""


def shipped(generation_config: Mapping[str, Any]) -> dict[str, bool | int | float]:
    """Return the search options of the artifact of a checkpoint with ``generation_config``."""
    return {**GREEDY, PENALTY: generation_config.get(PENALTY) or 1.0}


def left_out_note(generation_config: Mapping[str, Any]) -> str:
    """Return a note on the settings of a checkpoint that would change its answers, and with which
    no model is asked; empty if there are none.

    ONNX Runtime GenAI has no such setting, or not on every target.
    """
    left = {
        name: generation_config[name]
        for name, idle in _CHANGE_ANSWERS.items()
        if generation_config.get(name) is not None and generation_config[name] not in idle
    }
    why = "no model is asked with them, and the artifact is shipped without them"
    return f"settings of the checkpoint's generation_config: {_listed(left)}: {why}" if left else ""


def unmeasured_note(search: Mapping[Any, bool | int | float]) -> str:
    """Return a note on the options of ``search`` that are written into the artifact, and without
    which it is asked; empty if there are none."""
    left = {name: value for name, value in search.items() if GREEDY.get(name, value) != value}
    return f"the artifact is shipped with {_listed(left)}, and measured without" if left else ""


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {json.dumps(value)}" for name, value in settings.items())
