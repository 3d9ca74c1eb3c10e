"""Finds the device of a target on this machine.

Every other module of this package except ``device`` is a kind of device: its function ``find``
returns the :class:`Device` for a toolchain. A target's TOML file names the module.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from targets.devices.device import Device
from targets.toolchain.toolchain import Toolchain

_SHARED = {"device", "find"}


def device_kinds() -> tuple[str, ...]:
    """Return the names of all kinds of devices, sorted."""
    names = {module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])}
    return tuple(sorted(names - _SHARED))


def find_device(kind: str, toolchain: Toolchain) -> Device:
    """Return the device ``kind`` of this machine, for use with ``toolchain``."""
    device: Device = importlib.import_module(f"targets.devices.{kind}").find(toolchain)
    return device
