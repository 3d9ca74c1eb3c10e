"""The platform whose toolchains a runtime uses, determined without starting anything."""

from __future__ import annotations

from typing import Literal

from targets.errors import EnvironmentUnable
from targets.toolchain.platforms import this_machine

Choice = Literal["auto", "docker", "venv"]


def platform_for(requested: Choice) -> str:
    """Return the platform of the toolchains that the runtime ``requested`` would use.

    Only an engine of this machine can run steps, and it has this machine's architecture. So no
    engine is asked, and a fully cached build needs none.
    """
    local = this_machine()
    linux = f"linux/{local.partition('/')[2]}"
    if requested == "docker" or local == linux:
        return linux
    # Windows: its own toolchains, or those of an engine's Linux containers.
    return linux if requested == "auto" and _engine_here() else local


def _engine_here() -> bool:
    from targets.toolchain.engine import connect

    try:
        connect().close()
    except EnvironmentUnable:
        return False
    return True
