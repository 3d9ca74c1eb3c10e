"""The names of platforms in uv, pip and wheel tags."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass

from targets.errors import EnvironmentUnable


@dataclass(frozen=True)
class Platform:
    """The names of one platform."""

    docker: str
    """Docker's name: ``linux/amd64``."""
    uv: str
    """Value of uv's ``--python-platform``."""
    wheels: tuple[str, ...]
    """Platform tags of the wheels that run there, best first."""


def _manylinux(machine: str, oldest: int, legacy: tuple[str, ...]) -> tuple[str, ...]:
    """Return the manylinux tags from glibc 2.28 (PEP 600) down to 2.``oldest``."""
    modern = [f"manylinux_2_{minor}_{machine}" for minor in range(28, oldest - 1, -1)]
    return (*modern, *(f"{name}_{machine}" for name in legacy))


_PLATFORMS = {
    platform.docker: platform
    for platform in (
        Platform(
            docker="linux/amd64",
            uv="x86_64-manylinux_2_28",
            wheels=_manylinux("x86_64", 5, ("manylinux2014", "manylinux2010", "manylinux1")),
        ),
        Platform(
            docker="linux/arm64",
            uv="aarch64-manylinux_2_34",
            wheels=(
                *_manylinux("aarch64", 17, ("manylinux2014",)),
                # What the wheels of ONNX Runtime for CUDA ask for, and the base of images has.
                *(f"manylinux_2_{minor}_aarch64" for minor in range(29, 35)),
            ),
        ),
        Platform(
            docker="windows/amd64",
            uv="x86_64-pc-windows-msvc",
            wheels=("win_amd64",),
        ),
    )
}


def platform_named(docker: str) -> Platform:
    """Return the platform with Docker's name ``docker``.

    Raises ``EnvironmentUnable`` if it is unknown.
    """
    try:
        return _PLATFORMS[docker]
    except KeyError:
        known = ", ".join(sorted(_PLATFORMS))
        raise EnvironmentUnable(f"no toolchain for platform {docker}", f"known: {known}") from None


def native() -> str:
    """Return the platform of processes outside of containers; on macOS ``darwin``, for which there
    are no locks."""
    return "darwin" if sys.platform == "darwin" else this_machine()


def builds_without_engine() -> bool:
    """Return whether a virtual environment of this machine can build: toolchains that do are locked
    for Linux only."""
    return native().startswith("linux/")


def or_venv(remedy: str) -> str:
    """Return ``remedy`` for an engine that cannot be used, with the way that needs none, where
    there is one."""
    return f"{remedy}; or use `--runtime venv`" if builds_without_engine() else remedy


def this_machine() -> str:
    """Return the platform of this machine; on macOS that of its Linux containers."""
    machine = platform.machine().lower()
    architecture = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    return f"{'windows' if sys.platform == 'win32' else 'linux'}/{architecture}"
