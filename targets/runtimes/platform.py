"""Which platform's toolchains a runtime brings to life, found without starting anything."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

from targets.errors import EnvironmentUnable
from targets.toolchain.platforms import this_machine

Choice = Literal["auto", "docker", "venv"]


def platform_for(requested: Choice) -> str:
    """Return the platform of the toolchains that ``requested`` would bring to life.

    An engine on this machine runs this machine's architecture, so only a remote one is asked: a
    build with nothing left to do starts without one.
    """
    here = this_machine()
    if requested == "venv":
        return here
    linux = f"linux/{here.partition('/')[2]}"
    if not _engine_elsewhere():
        return here if requested == "auto" and here != linux and not _engine_here() else linux
    from targets.toolchain.engine import connect, platform_of

    try:
        return platform_of(connect())
    except EnvironmentUnable:
        return linux


def _engine_elsewhere() -> bool:
    """Return whether the Docker CLI is set to an engine other than this machine's."""
    host = os.environ.get("DOCKER_HOST")
    if host:
        return not host.startswith(("unix://", "npipe://"))
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        named = config.get("currentContext", "")
    except (OSError, ValueError, AttributeError):
        named = ""
    context = os.environ.get("DOCKER_CONTEXT") or named
    return context not in ("", "default", "desktop-linux")


def _engine_here() -> bool:
    from targets.toolchain.engine import connect

    try:
        connect().close()
    except EnvironmentUnable:
        return False
    return True
