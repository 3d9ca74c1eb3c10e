"""The images that a registry serves to one command: asked for once, and pulled."""

from __future__ import annotations

from collections.abc import Callable

from docker import DockerClient

from targets.toolchain.image import expected_image, fetch_image
from targets.toolchain.registry.exchange import ImageRefused, RegistryFailed
from targets.toolchain.registry.image_registry import ImageRegistry
from targets.toolchain.toolchain import Toolchain

_EVERY = "*"
"""In place of a target: what holds of all images of the registry."""


class ServedImages:
    """What one registry has for the toolchains of a command."""

    def __init__(self, client: DockerClient, registry: ImageRegistry) -> None:
        self._client = client
        self._registry = registry
        self._lacks: dict[str, str] = {}

    def lack(self, toolchain: Toolchain) -> str:
        """Return why the image is not served, as far as that can be known before it is pulled;
        empty if it is. A registry that does not answer is not asked again."""
        known = self._lacks.get(toolchain.target, self._lacks.get(_EVERY))
        if known is not None:
            return known
        try:
            found = self._registry.ask(self._client, expected_image(toolchain))
        except RegistryFailed as failed:
            name = toolchain.target if isinstance(failed, ImageRefused) else _EVERY
            return self._note(name, failed)
        return self._note(toolchain.target, None if found else self._has_none())

    def pull(self, toolchain: Toolchain, say: Callable[[str], None]) -> str:
        """Pull the image; return why that was not possible, else nothing."""
        lack = self.lack(toolchain)
        if lack:
            return lack
        try:
            image = fetch_image(self._client, toolchain, self._registry, say)
        except RegistryFailed as failed:
            return self._note(toolchain.target, failed)
        return self._note(toolchain.target, self._has_none() if image is None else None)

    def _has_none(self) -> str:
        return f"{self._registry.address} has none for this recipe"

    def _note(self, name: str, why: RegistryFailed | str | None) -> str:
        if isinstance(why, RegistryFailed):
            why = f"{self._registry.address}: {why} ({why.advice})"
        self._lacks[name] = why or ""
        return self._lacks[name]
