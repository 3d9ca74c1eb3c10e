"""The wheels that a program needs which asks an artifact."""

from __future__ import annotations

from targets.target import Target
from targets.toolchain.requirements import Pin, read_lock

_RUNTIME = ("onnxruntime", "numpy")
"""Beginnings of the names of the wheels that are enough to run an artifact."""
_LIBRARIES = {
    "cuda": tuple(
        f"nvidia-{name}"
        for name in (
            "cublas",
            "cuda-nvrtc",
            "cuda-runtime",
            "cudnn",
            "cufft",
            "curand",
            "nvjitlink",
        )
    )
}
"""The same of what an execution provider loads that comes as wheels, and its loader does not find:
https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html#preload-dlls"""


def preloads(target: Target) -> bool:
    """Return whether the libraries of the target's provider come as wheels."""
    return target.execution_provider in _LIBRARIES


def plugin(target: Target) -> str:
    """Return the Python package of the target's provider, if that is a plugin; else empty."""
    name = f"onnxruntime-ep-{target.execution_provider}"
    locked = any(pin.name == name for pin in run_pins(target))
    return name.replace("-", "_") if locked else ""


def run_requirements(target: Target) -> bytes:
    """Return ``requirements.txt``: a lock of :func:`run_pins`, with the hashes of their files."""
    return "".join(f"{pin.requirement()}\n" for pin in run_pins(target)).encode()


def run_pins(target: Target) -> list[Pin]:
    """Return the locked wheels that are enough to run an artifact of ``target``."""
    runs_on = [name for name in target.platforms if not target.platforms[name].builds]
    platform = runs_on[0] if runs_on else next(iter(target.platforms))
    pins = read_lock(target.toolchain(platform).lock)
    names = (*_RUNTIME, *_LIBRARIES.get(target.execution_provider, ()))
    chosen = (pin for pin in pins if pin.name.startswith(names))
    return sorted(chosen, key=lambda pin: pin.name)
