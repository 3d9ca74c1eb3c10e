"""What a step costs and what it ran with: peak memory and library versions."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
"""Written to ``clear_refs``, resets the peak resident set size (``man 5 proc``)."""

LIBRARIES = (
    "accelerate",
    "bitsandbytes",
    "datasets",
    "numpy",
    "onnx",
    "onnx-ir",
    "peft",
    "pydantic",
    "safetensors",
    "tokenizers",
    "torch",
    "transformers",
)
_RUNTIME = "onnxruntime"
"""Beginning of the names under which ONNX Runtime and its GenAI come: a flavour per provider."""


class PeakMemory:
    """Peak resident set of this process since it was made, with the largest child that ended.

    Where the kernel does not let the peak be reset, it is the peak since the process began; nought
    on Windows, which keeps no such figure.
    """

    def __init__(self) -> None:
        with suppress(OSError):
            _CLEAR_REFS.write_text(_RESET_PEAK)
        self._children = _largest_child()

    def bytes(self) -> int:
        """Return the peak so far."""
        children = _largest_child()
        return peak_rss_bytes() + (children if children > self._children else 0)


@cache
def versions() -> Mapping[str, str]:
    """Return the version of Python and of every known library that is installed."""
    installed = {found.name.lower(): found.version for found in metadata.distributions()}
    known = sorted(name for name in installed if name in LIBRARIES or name.startswith(_RUNTIME))
    return {"python": platform.python_version(), **{name: installed[name] for name in known}}


def peak_rss_bytes() -> int:
    """Return the peak resident set of this process; nought on Windows."""
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return _usage(children=False)


def _largest_child() -> int:
    return _usage(children=True)


def _usage(children: bool) -> int:
    if sys.platform == "win32":
        return 0
    import resource

    who = resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF
    return resource.getrusage(who).ru_maxrss * 1024
