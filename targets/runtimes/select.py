"""Chooses the runtime: containers where an engine answers, else a virtual environment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from targets.errors import EnvironmentUnable
from targets.machine import require_instructions
from targets.runtimes.platform import Choice
from targets.runtimes.runtime import Runtime
from targets.runtimes.venv import VenvRuntime


def choose(requested: Choice, cache_dir: Path, say: Callable[[str], None]) -> Runtime:
    """Return the runtime ``requested``.

    ``auto`` takes Docker if an engine answers, and says in one line why not otherwise. Raises
    ``EnvironmentUnable`` when ``docker`` is asked for and there is no engine, or when no toolchain
    runs on this CPU.
    """
    require_instructions()
    if requested == "venv":
        return VenvRuntime(cache_dir)
    # docker-py takes a quarter of a second to import: only who uses an engine pays for it.
    from targets.runtimes.docker import DockerRuntime
    from targets.toolchain.engine import connect

    try:
        return DockerRuntime(connect(), cache_dir)
    except EnvironmentUnable as error:
        if requested == "docker":
            raise
        say(f"{error}: using a virtual environment of the same lock")
        return VenvRuntime(cache_dir)
