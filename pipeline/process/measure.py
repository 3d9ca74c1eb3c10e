"""Peak memory of the process, and the versions of installed libraries."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
"""Writing this to ``/proc/self/clear_refs`` resets the peak resident set size (``man 5 proc``)."""

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
"""Prefix of the packages of ONNX Runtime and its GenAI, of which there is one per provider."""


class PeakMemory:
    """Peak resident set of this process since this object was created, plus that of the largest
    child process, if it ended since.

    If the kernel cannot reset the peak, it is the peak since the process started. Zero on Windows,
    which has no such figure.
    """

    def __init__(self) -> None:
        with suppress(OSError):
            _CLEAR_REFS.write_text(_RESET_PEAK)
        self._children = _largest_child()

    def bytes(self) -> int:
        """Return the peak so far, in bytes."""
        children = _largest_child()
        return peak_rss_bytes() + (children if children > self._children else 0)


@cache
def versions() -> Mapping[str, str]:
    """Return the version of Python and of every known library that is installed."""
    from importlib import metadata

    installed = {
        distribution.name.lower(): distribution.version for distribution in metadata.distributions()
    }
    known = sorted(name for name in installed if name in LIBRARIES or name.startswith(_RUNTIME))
    return {"python": platform.python_version(), **{name: installed[name] for name in known}}


def peak_rss_bytes() -> int:
    """Return the peak resident set of this process in bytes; zero on Windows."""
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
