"""Model configs with the attributes that the model builder reads.

The builder takes a default, without a word, for what it does not find where it looks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_ROPE = ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings")
_EPSILON = "rms_norm_eps"
_EPSILONS = ("layer_norm_eps", "layer_norm_epsilon", "norm_eps")
_FIXED_EPSILONS = {"olmo": 1e-5}
"""Epsilons of models whose config has none: a constant of their code in transformers."""


class ReadableConfig:
    """Replaces ``AutoConfig`` in the builder."""

    @staticmethod
    def from_pretrained(*arguments: Any, **options: Any) -> Any:
        """Return the config as transformers reads it, with what the builder looks for."""
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(*arguments, **options)
        _spell_out_rotary(config)
        _spell_out_windows(config)
        _spell_out_epsilon(config)
        return config


def _spell_out_rotary(config: Any) -> None:
    """Give ``config`` the settings of rotary positions as attributes.

    transformers 5 keeps them in ``rope_parameters``, for Gemma 3 one set per kind of layer. GenAI
    0.13 takes a base of 10000, and all of a head, if there are no such attributes.
    """
    parameters = getattr(config, "rope_parameters", None) or {}
    local = parameters.get("sliding_attention")
    if local is not None:
        parameters = config.rope_parameters = dict(parameters["full_attention"])
        config.rope_local_base_freq = local["rope_theta"]
    if parameters.get("rope_type") == "yarn":
        parameters |= _yarn(parameters, _head_size(config))
    for name in _ROPE:
        if name in parameters and not hasattr(config, name):
            setattr(config, name, parameters[name])


def _yarn(parameters: Mapping[str, Any], size: int) -> dict[str, float]:
    """Return the settings of YaRN (arXiv 2309.00071) with which the builder has the frequencies of
    transformers (``_compute_yarn_parameters`` in ``modeling_rope_utils.py``).

    Frequency ``i`` of ``size / 2`` turns ``beta`` times in the original context, ``L`` tokens, for
    ``i = size / 2 * log(L / (2 pi beta)) / log(theta)``. Between two of these, transformers goes
    over from old to new frequencies. It rounds both, unless told otherwise, and the builder does
    not: so it gets the betas of whole numbers.
    """
    theta, half = float(parameters["rope_theta"]), size / 2
    turns = float(parameters["original_max_position_embeddings"]) / (2 * math.pi)

    def place(beta: float) -> float:
        return half * math.log(turns / beta) / math.log(theta)

    low = place(parameters.get("beta_fast") or 32.0)
    high = place(parameters.get("beta_slow") or 1.0)
    if parameters.get("truncate", True):
        low, high = max(math.floor(low), 0), min(math.ceil(high), size - 1)
    return {
        "beta_fast": turns / theta ** (low / half),
        "beta_slow": turns / theta ** (high / half),
        **_magnitude(parameters),
    }


def _magnitude(parameters: Mapping[str, Any]) -> dict[str, float]:
    """Return ``attention_factor`` under the name by which the builder takes it as it is."""
    factor = parameters.get("attention_factor")
    return {} if factor is None else {"mscale": factor, "mscale_all_dim": 0.0}


def _head_size(config: Any) -> int:
    return int(
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )


def _spell_out_windows(config: Any) -> None:
    """Say which layers of ``config`` have a sliding window, where that is all of them.

    So it is in transformers if there are no ``layer_types`` (Phi-3, Mistral). In GenAI 0.18 no
    layer has the window then (``is_local`` in ``builders/base.py``).
    """
    if getattr(config, "sliding_window", None) and not hasattr(config, "layer_types"):
        config.layer_types = ["sliding_attention"] * config.num_hidden_layers


def _spell_out_epsilon(config: Any) -> None:
    """Give ``config`` the epsilon of its norms under the one name that the builder knows."""
    if hasattr(config, _EPSILON):
        return
    named = (getattr(config, name) for name in _EPSILONS if hasattr(config, name))
    epsilon = next(named, _FIXED_EPSILONS.get(config.model_type))
    if epsilon is not None:
        setattr(config, _EPSILON, epsilon)
