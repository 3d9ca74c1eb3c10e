"""Config and tensor shapes of a Hugging Face checkpoint, read from headers without any tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.contract.errors import StepError
from pipeline.contract.space import Shape, Weights, count
from pipeline.reading.json_text import read_json
from pipeline.weights.files import tensors_of, weight_files

_CONTEXT = ("max_position_embeddings", "n_positions", "max_seq_len")
"""What families call the longest text: most of them; GPT-2; MPT."""
_HEAD = "lm_head"


@dataclass(frozen=True)
class Checkpoint:
    """A folder with ``config.json`` and ``*.safetensors``."""

    folder: Path

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """Return ``config.json``. Raises :class:`StepError` if it is missing or broken."""
        return self._json("config.json")

    @cached_property
    def generation_config(self) -> Mapping[str, Any]:
        """Return ``generation_config.json``, empty if there is none."""
        if not (self.folder / "generation_config.json").is_file():
            return {}
        return self._json("generation_config.json")

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Return the shape of every tensor. Raises :class:`StepError` for an unreadable file."""
        tensors = tensors_of(self.folder)
        if not tensors:
            raise StepError(f"{self.folder.name} holds no safetensors weights")
        return {name: tensor.shape for name, tensor in tensors.items()}

    @cached_property
    def linear(self) -> Mapping[str, Shape]:
        """Return the shapes (outputs, inputs) of all matrices that multiply hidden states.

        The embedding counts once more as the output layer where the two share their weights.
        """
        return self.tensors.linear

    @property
    def tensors(self) -> Weights:
        """Return names, shapes and total size of all tensors."""
        said = self.config.get("tie_word_embeddings")
        # Configs of Gemma and LFM2 do not say it: it is the default of their classes.
        shared = said if isinstance(said, bool) else not any(_HEAD in name for name in self.shapes)
        stored = sum(file.stat().st_size for file in weight_files(self.folder))
        rotary = int(self.config.get("max_position_embeddings", 0)) * (self.head_size or 0)
        return Weights(self.shapes, shared, stored, rotary)

    @property
    def weights(self) -> int:
        """Return the total number of weights."""
        return self.tensors.count

    @property
    def linear_weights(self) -> int:
        """Return the total number of weights of the linear layers."""
        return count(self.linear.values())

    @property
    def context(self) -> int | None:
        """Return the most tokens that the model takes; ``None`` if the config does not state it."""
        text = self.config.get("text_config")
        both = (self.config, text if isinstance(text, Mapping) else {})
        lengths = (config.get(name) for config in both for name in _CONTEXT)
        return next((int(length) for length in lengths if length), None)

    @property
    def dtype(self) -> str:
        """Return the number format of the weights according to the config; empty if not stated."""
        return str(self.config.get("dtype") or self.config.get("torch_dtype") or "")

    @property
    def head_size(self) -> int | None:
        """Return the size of one attention head; ``None`` if the config does not state it."""
        if self.config.get("head_dim"):
            return int(self.config["head_dim"])
        hidden, heads = self.config.get("hidden_size"), self.config.get("num_attention_heads")
        return int(hidden) // int(heads) if hidden and heads else None

    @property
    def end_ids(self) -> tuple[int, ...]:
        """Return the end-of-sequence ids that generation config and config name, sorted."""
        named = self.generation_config.get("eos_token_id")
        if named is None:
            named = self.config.get("eos_token_id")
        return tuple(sorted(as_ids(named)))

    def _json(self, name: str) -> Mapping[str, Any]:
        try:
            value = read_json(self.folder / name)
        except (OSError, ValueError) as error:
            raise StepError(f"the model's {name} cannot be read: {error}") from error
        if not isinstance(value, dict):
            raise StepError(f"the model's {name} is not a JSON object")
        return value


def as_ids(value: Any) -> tuple[int, ...]:
    """Return the token ids of a config entry that is one id, a list of ids or nothing."""
    if value is None:
        return ()
    return tuple(int(item) for item in value) if isinstance(value, list) else (int(value),)
