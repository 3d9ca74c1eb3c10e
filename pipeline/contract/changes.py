"""What a pass after the model builder says that it changes in the model folder."""

from __future__ import annotations

from typing import Literal, get_args

CHANGES = "changes"
"""Name of the figure that such a pass returns: a list of :data:`Part`."""

Part = Literal["graph", "weights", "settings", "tokenizer", "files"]
"""Nodes and their attributes; tensors; ``genai_config.json``; tokenizer and chat template; which
files there are."""

PARTS: tuple[Part, ...] = get_args(Part)
