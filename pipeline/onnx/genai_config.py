"""Reads ``genai_config.json``, which tells ONNX Runtime GenAI how to run a model folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.onnx.checkpoint import as_ids
from pipeline.reading.json_text import read_json

_MOST_LAYERS = 10_000
_TABLES = ("inputs", "outputs", "session_options")
_STATES = ("past_conv_names", "past_recurrent_names")
"""Inputs with the states of convolutions and of linear attention."""


class GenAiConfig:
    """``genai_config.json`` of a model folder."""

    def __init__(self, folder: Path) -> None:
        """Raises ``ValueError`` if it is missing or is not what ONNX Runtime GenAI reads, and where
        a key stands twice, since the runtime heeds both."""
        try:
            self.raw: Mapping[str, Any] = read_json(folder / "genai_config.json", strict=True)
            self.model: Mapping[str, Any] = self.raw["model"]
            self.decoder: Mapping[str, Any] = self.model["decoder"]
            self.layers = int(self.decoder["num_hidden_layers"])
            self.vocabulary = int(self.model["vocab_size"])
            self.context = int(self.model["context_length"])
            self.filename = str(self.decoder["filename"])
            self._require_tables()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"genai_config.json cannot be used: {error!r}") from error

    def _require_tables(self) -> None:
        """Raise ``ValueError`` for what the runtime would not read, and we cannot."""
        if not 0 < self.layers <= _MOST_LAYERS:
            raise ValueError(f"num_hidden_layers is {self.layers}")
        tables = {"search": self.raw.get("search", {})}
        tables |= {name: self.decoder.get(name, {}) for name in _TABLES}
        for name, table in tables.items():
            if not isinstance(table, dict):
                raise ValueError(f"{name} is no table")
        for name in ("inputs", "outputs"):
            if not all(isinstance(value, str) for value in tables[name].values()):
                raise ValueError(f"{name} holds what is no name")
        providers = tables["session_options"].get("provider_options", [])
        if not isinstance(providers, list) or not all(isinstance(one, dict) for one in providers):
            raise ValueError("provider_options is no list of tables")

    @property
    def end_ids(self) -> tuple[int, ...]:
        """Return the ids at which generation ends."""
        return as_ids(self.model.get("eos_token_id"))

    @property
    def logits(self) -> str:
        """Return the name of the output that holds the logits."""
        return str(self.decoder.get("outputs", {}).get("logits", "logits"))

    @property
    def provider(self) -> str:
        """Return the first execution provider that it names; ``cpu`` if it names none."""
        options = self.decoder.get("session_options", {}).get("provider_options", [])
        names = [str(name).casefold() for entry in options for name in entry]
        return names[0] if names else "cpu"

    @property
    def threads(self) -> int | None:
        """Return ``intra_op_num_threads``: 0 is one per core; ``None`` if not set, and then the
        runtime takes half of the cores, at least one and at most 16."""
        count = self.decoder.get("session_options", {}).get("intra_op_num_threads")
        return None if count is None else int(count)

    @property
    def rewinds(self) -> bool:
        """Return whether a generator can take back tokens: not where the model keeps a window of
        keys and values, or states that sum up what they have seen."""
        states = [name for name in self.decoder.get("inputs", {}) if name in _STATES]
        return not states and "sliding_window" not in self.decoder

    def names(self, group: str) -> set[str]:
        """Return the names in ``inputs`` or ``outputs`` that are not one per layer."""
        return {name for name in self.decoder.get(group, {}).values() if "%d" not in name}

    def patterns(self, group: str) -> tuple[tuple[str, ...], ...]:
        """Return the names in ``inputs`` or ``outputs`` that are one per layer: for each pattern,
        those of all layers. A layer has a cache of keys and values, or a state of its own kind."""
        patterns = (name for name in self.decoder.get(group, {}).values() if "%d" in name)
        return tuple(tuple(name % at for at in range(self.layers)) for name in patterns)
