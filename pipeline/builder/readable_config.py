"""Model configs with the attributes that the model builder reads."""

from __future__ import annotations

from typing import Any

_ROPE = ("rope_theta", "partial_rotary_factor")


class ReadableConfig:
    """Replaces ``AutoConfig`` in the builder, which misses what it does not find as an attribute:

    - transformers 5 keeps the settings of rotary positions in ``rope_parameters``. GenAI 0.13 looks
      for some of them as attributes of the config, and takes 10000 and 1.0 if they are not there
      (``rope_attrs`` in ``builders/base.py``).
    - Where a config has a ``sliding_window`` and no ``layer_types``, as those of Phi-3 and Mistral,
      all layers have the window in transformers, and none has it in GenAI 0.18 (``is_local``).
    """

    @staticmethod
    def from_pretrained(*arguments: Any, **options: Any) -> Any:
        """Return the config as transformers reads it, with those attributes."""
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(*arguments, **options)
        parameters = getattr(config, "rope_parameters", None) or {}
        for name in _ROPE:
            if name in parameters and not hasattr(config, name):
                setattr(config, name, parameters[name])
        if getattr(config, "sliding_window", None) and not hasattr(config, "layer_types"):
            config.layer_types = ["sliding_attention"] * config.num_hidden_layers
        return config
