"""Finds the device of a target on this machine.

Each other module of this package, but ``device``, is a kind of device: its function ``find``
returns the :class:`Device` as a toolchain can use it here. A target's TOML names the module.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from targets.devices.device import Device
from targets.toolchain.toolchain import Toolchain

_SHARED = {"device", "find"}


def device_kinds() -> tuple[str, ...]:
    """Return the kinds of devices that can be looked for, sorted."""
    names = {module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])}
    return tuple(sorted(names - _SHARED))


def find_device(kind: str, toolchain: Toolchain) -> Device:
    """Return the device ``kind`` as ``toolchain`` can use it here."""
    found: Device = importlib.import_module(f"targets.devices.{kind}").find(toolchain)
    return found
