"""The contents of the toolchains that made a release: wheels, and Debian packages of images."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from targets.digests import Digests
from targets.errors import EnvironmentUnable
from targets.place import Place
from targets.release.compose_release import BuiltTarget
from targets.release.inputs import SYSTEM
from targets.release.sbom.contents import DebianSystem, ToolchainContents
from targets.release.sbom.debian import debian_in
from targets.release.sbom.wheels import read_wheels
from targets.release.sbom.write_system import MEDIA_TYPE, write_system
from targets.release.statement import ResourceDescriptor
from targets.toolchain.image import find_image
from targets.toolchain.toolchain import Toolchain
from targets.toolchain.wheelhouse import Wheelhouse

if TYPE_CHECKING:
    from docker import DockerClient


def contents_of(
    built: Iterable[BuiltTarget], host: Place, cache: Path, say: Callable[[str], None]
) -> dict[str, ToolchainContents]:
    """Return the contents of every toolchain that a step ran in, per target.

    Fetches wheels that are no longer in ``cache``.
    """
    contents: dict[str, ToolchainContents] = {}
    digests = Digests(cache / "digests.sqlite")
    for name, (toolchain, _) in _used(built, host).items():
        wheels = Wheelhouse(cache / "wheels").ensure(toolchain, say)
        contents[name] = ToolchainContents(
            target=name,
            platform=toolchain.platform,
            digest=toolchain.digest,
            python=toolchain.python,
            wheels=read_wheels(wheels, digests.file),
        )
    return contents


def systems_of(built: Iterable[BuiltTarget], host: Place) -> Iterator[ResourceDescriptor]:
    """Yield the SBOM of each image in which a step ran, as an input; none for virtual environments.

    Raises ``EnvironmentUnable`` if the image no longer exists.
    """
    seen: set[str] = set()
    for name, (toolchain, origin) in _used(built, host).items():
        base = origin.get("base_image", "")
        if base and base not in seen:
            seen.add(base)
            yield ResourceDescriptor(
                name=f"{SYSTEM}{name}",
                content=base64.b64encode(write_system(_system(toolchain, base))).decode(),
                media_type=MEDIA_TYPE,
            )


def missing_wheels(places: Iterable[Place], cache: Path) -> list[str]:
    """Return the wheels of the toolchains of ``places`` that are not in ``cache``."""
    house = Wheelhouse(cache / "wheels")
    return sorted({str(pin) for place in places for pin in house.missing(place.toolchain)})


def _used(built: Iterable[BuiltTarget], host: Place) -> dict[str, tuple[Toolchain, dict[str, str]]]:
    """Return each toolchain that ran a step, and the origin of the newest step that it ran."""
    return {name: (toolchain, origin) for name, toolchain, origin in _origins(built, host)}


def _origins(
    built: Iterable[BuiltTarget], host: Place
) -> Iterator[tuple[str, Toolchain, dict[str, str]]]:
    for one in built:
        toolchains = {place.toolchain.target: place.toolchain for place in (host, one.place)}
        for planned in one.outcome.plan.steps:
            step = planned.step
            origin = one.outcome.results[step.name].origin
            if step.kind == "pass" and origin:
                yield step.target, toolchains[step.target], origin


def _system(toolchain: Toolchain, base: str) -> DebianSystem:
    # docker-py takes a quarter of a second to import: only who uses an engine pays for it.
    from targets.toolchain.engine import connect

    client = connect()
    try:
        return debian_in(client, _image(client, toolchain, base))
    finally:
        client.close()


def _image(client: DockerClient, toolchain: Toolchain, base: str) -> str:
    image = find_image(client, toolchain)
    if image is None or image.base != base:
        raise EnvironmentUnable(
            f"the image that the {toolchain.target} toolchain ran in ({base}) is gone",
            "empty the cache of results and build again",
        )
    return image.id
