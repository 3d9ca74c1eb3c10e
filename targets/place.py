"""A target where its steps run: its toolchain for that platform, and its device."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from targets.devices.device import Device
from targets.devices.find import find_device
from targets.errors import EnvironmentUnable
from targets.target import DEFAULT_TARGET, Target, load_target, target_names
from targets.toolchain.toolchain import Toolchain
from targets.version import invocation


@dataclass(frozen=True)
class Place:
    """The toolchain and the device with which steps of one target run."""

    toolchain: Toolchain
    device: Device


FindDevice = Callable[[str, Toolchain], Device]
"""Returns a kind of device, by its name, for use with a toolchain."""


def place_of(target: Target, platform: str, find: FindDevice = find_device) -> Place:
    """Return the place of ``target`` on ``platform``; ``find`` looks for its device.

    Raises ``EnvironmentUnable`` if the target has no toolchain for it.
    """
    toolchain = target.toolchain(platform)
    return Place(toolchain, find(target.device, toolchain))


def building_place(target: Target, platform: str, find: FindDevice = find_device) -> Place:
    """Return the place where artifacts of ``target`` are built; ``find`` looks for its device.

    Raises ``EnvironmentUnable`` if its toolchain for ``platform`` only runs checks.
    """
    place = place_of(target, platform, find)
    if not target.platforms[platform].builds:
        able = ", ".join(name for name, rules in target.platforms.items() if rules.builds)
        raise EnvironmentUnable(
            f"the {target.name} toolchain for {platform} runs checks only; it builds on {able}",
            "use `--runtime docker` with Linux containers",
        )
    return place


def default_training_target(
    platform: str, names: Iterable[str] | None = None, find: FindDevice = find_device
) -> str:
    """Return the default host target: the first that trains on a device that ``find`` finds.

    :data:`DEFAULT_TARGET` if there is none.
    """
    for name in names if names is not None else target_names():
        target = load_target(name)
        rules = target.platforms.get(platform)
        able = target.trains and rules is not None and rules.builds
        if able and place_of(target, platform, find).device.here:
            return name
    return DEFAULT_TARGET


def places_by_name(names: Iterable[str], places: Iterable[Place]) -> dict[str, Place]:
    """Return the places of the targets ``names``, by name, without duplicates."""
    requested = set(names)
    by_name = {place.toolchain.target: place for place in places}
    return {name: place for name, place in by_name.items() if name in requested}


def require_devices(places: Iterable[Place]) -> None:
    """Raise ``EnvironmentUnable`` that names every target whose device this machine lacks."""
    absent = [place for place in places if not place.device.here]
    if absent:
        reasons = "; ".join(f"{place.toolchain.target}: {place.device.absence}" for place in absent)
        raise EnvironmentUnable(
            f"not everything could be verified here: {reasons}",
            "build without --require-verified, then run "
            f"`{invocation('check-TARGET')}` where the device is",
        )
