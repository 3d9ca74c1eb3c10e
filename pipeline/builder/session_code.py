"""Finds what in a ``genai_config.json`` has the runtime load native code, or reads or writes other
files than the model's.

Free of any ML library. https://onnxruntime.ai/docs/genai/reference/config.html, and for what the
runtime reads, ``src/config.h`` of ONNX Runtime GenAI.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pipeline.builder.session_options import SessionOption

_PLAIN = frozenset(
    {
        *get_args(SessionOption),
        "disable_cpu_ep_fallback",
        "disable_quant_qdq",
        "enable_quant_qdq_cleanup",
        "inter_op_num_threads",
        "intra_op_num_threads",
        "log_id",
        "log_severity_level",
        "log_verbosity_level",
        "use_env_allocators",
    }
)
"""Options whose values are numbers or names, whatever they are."""
_LIBRARY = "custom_ops_library"
_PROVIDERS = "provider_options"
_TELLING = ("path", "file", "lib", "dir", "backend", "package", "load_config")
"""Parts of the names of provider options that hold paths."""
_HARMLESS = re.compile(r"[\w ,;+-]*|[+-]?[0-9.]+(e[+-]?[0-9]+)?", re.ASCII)
"""Values that name no file, whatever the option is called: words and numbers."""


def session_code(config: Any) -> Iterator[str]:
    """Yield what each option of a session would do that a model does not need.

    ``config`` is the content of the file, whatever it holds.
    """
    for options in _sessions(config):
        for name, value in options.items():
            if name == _LIBRARY:
                yield f"{_LIBRARY}: the native library {value!r} would be loaded"
            elif name == _PROVIDERS:
                yield from _providers(value)
            elif name not in _PLAIN:
                yield f"{name}: this session option is not one that a model needs"
            elif not isinstance(value, str | int | float | bool):
                yield f"{name}: {type(value).__name__} is no value of a session option"


def _sessions(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every table of session options, of whichever part of the model."""
    waiting = [value]
    while waiting:
        here = waiting.pop()
        if isinstance(here, Mapping):
            for name, inner in here.items():
                if name in ("session_options", "run_options") and isinstance(inner, Mapping):
                    yield inner
                else:
                    waiting.append(inner)
        elif isinstance(here, list):
            waiting += here


def _providers(value: Any) -> Iterator[str]:
    """Yield which options of execution providers name files."""
    entries = value if isinstance(value, list) else [value]
    for entry in entries:
        for provider, options in entry.items() if isinstance(entry, Mapping) else ():
            for name, value in options.items() if isinstance(options, Mapping) else ():
                telling = any(part in str(name).casefold() for part in _TELLING)
                if telling or not _HARMLESS.fullmatch(str(value)):
                    yield f"{provider}.{name}: this option of an execution provider names a file"
