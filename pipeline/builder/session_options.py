"""Options of the session that runs the graph, in ``genai_config.json``. Free of ML libraries.

https://onnxruntime.ai/docs/genai/reference/config.html, and for names with a dot ONNX Runtime's
``onnxruntime_session_options_config_keys.h``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

SessionOption = Literal[
    "enable_cpu_mem_arena",
    "enable_mem_pattern",
    "graph_optimization_level",
    "session.disable_prepacking",
    "session.dynamic_block_base",
    "session.force_spinning_stop",
    "session.intra_op.allow_spinning",
    "session.intra_op_thread_affinities",
]
"""Options that change speed or memory of a session and that every locked runtime knows. The runtime
silently ignores unknown ones."""

SessionValue = bool | int | str

_LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")
_NUMBERS = ("session.dynamic_block_base",)
_TEXTS = ("session.intra_op_thread_affinities",)
_THREADS = "intra_op_num_threads"


def problem_with(option: str, value: SessionValue) -> str:
    """Return the problem with the value of an option; empty if there is none."""
    if option == "graph_optimization_level":
        return "" if value in _LEVELS else f"must be one of {', '.join(_LEVELS)}"
    if option in _NUMBERS:
        return (
            "" if isinstance(value, int) and not isinstance(value, bool) else "must be an integer"
        )
    if option in _TEXTS:
        return "" if isinstance(value, str) and value else "must be text"
    return "" if isinstance(value, bool) else "must be true or false"


def set_session(
    config: dict[str, Any], threads: int | None, options: Mapping[SessionOption, SessionValue]
) -> None:
    """Write threads and options into ``config``, the content of ``genai_config.json``."""
    session = config["model"]["decoder"]["session_options"]
    if threads is not None:
        session[_THREADS] = threads
    for name, value in sorted(options.items()):
        session[name] = _written(name, value)


def _written(name: str, value: SessionValue) -> SessionValue:
    """Return the value as ONNX Runtime GenAI reads it: those of names with a dot are text."""
    if "." not in name:
        return value
    return str(int(value)) if isinstance(value, bool) else str(value)


def write_config(path: Path, config: Mapping[str, Any]) -> None:
    """Write ``config`` as JSON, formatted like the other files of the model folder."""
    path.write_text(json.dumps(config, indent=4, ensure_ascii=False) + "\n", "utf-8")
