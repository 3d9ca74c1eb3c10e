"""Checks whether steps can run in containers: an engine, and the images or a way to build them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from docker import DockerClient
from docker.errors import DockerException
from requests.exceptions import RequestException

from targets.disk import Need, require_room
from targets.errors import EnvironmentUnable
from targets.toolchain.base import BaseSource, base_sources, ensure_base, no_base
from targets.toolchain.engine import (
    ANSWER_SECONDS,
    connect,
    data_root,
    reason,
    request_timeout,
    require_shared_folders,
)
from targets.toolchain.image import base_recipe, find_image, image_needs, require_same_platform
from targets.toolchain.toolchain import Toolchain

_LEAST_FREE = 32 * 2**20
"""Free bytes that an engine needs on its disk to run a container of an existing image."""


class Containers:
    """A usable engine of this machine, and the toolchains' images that it has.

    Answers are cached, so create a new object for every command.
    """

    def __init__(self, cache: Path) -> None:
        """Connect to the engine. Raises ``EnvironmentUnable`` if it cannot be used."""
        self.client: DockerClient = connect()
        self._cache = cache
        self._sources: dict[str, tuple[BaseSource, ...]] = {}
        with _answering(self.client):
            require_shared_folders(self.client, cache)

    def has_image(self, toolchain: Toolchain) -> bool:
        """Return whether the engine has the image of ``toolchain``."""
        with _answering(self.client):
            return not self._missing_images([toolchain])

    def require(self, toolchains: Iterable[Toolchain]) -> str:
        """Return, in words, where the images of ``toolchains`` come from. Fetches nothing.

        Raises ``EnvironmentUnable`` if an image neither exists nor can be built.
        """
        with _answering(self.client):
            required = tuple(toolchains)
            for toolchain in required:
                require_same_platform(self.client, toolchain)
            require_room(self._needs(required))
            missing = self._missing_images(required)
            if not missing:
                return f"{_images(required)} here"
            sources = self._sources_of(missing[0])
            if not sources:
                raise no_base()
            return f"{_images(missing)} not built yet, and {sources[0].words}"

    def make_base(self, toolchains: Iterable[Toolchain], say: Callable[[str], None]) -> None:
        """Get the base image of the images that have to be built. Raises ``EnvironmentUnable``."""
        with _answering(self.client):
            missing = self._missing_images(toolchains)
        if missing:
            sources = self._sources_of(missing[0])
            ensure_base(self.client, base_recipe(missing[0]), self._cache, say, sources)

    def _missing_images(self, toolchains: Iterable[Toolchain]) -> Sequence[Toolchain]:
        return [one for one in toolchains if find_image(self.client, one) is None]

    def _sources_of(self, toolchain: Toolchain) -> tuple[BaseSource, ...]:
        recipe = base_recipe(toolchain)
        if recipe.digest not in self._sources:
            self._sources[recipe.digest] = base_sources(self.client, recipe)
        return self._sources[recipe.digest]

    def _needs(self, toolchains: Iterable[Toolchain]) -> Iterator[Need]:
        root = data_root(self.client)
        if root is not None:
            remedy = "`docker system prune` frees space; or use `--runtime venv`"
            yield Need(root, _LEAST_FREE, "a container", remedy)
        for toolchain in toolchains:
            yield from image_needs(self.client, toolchain, self._cache)


def _images(toolchains: Sequence[Toolchain]) -> str:
    names = ", ".join(dict.fromkeys(toolchain.target for toolchain in toolchains))
    return f"the image of {names} is" if len(toolchains) == 1 else f"the images of {names} are"


@contextmanager
def _answering(client: DockerClient) -> Iterator[None]:
    """Context in which the engine must answer within a few seconds; else ``EnvironmentUnable``."""
    try:
        with request_timeout(client, ANSWER_SECONDS):
            yield
    except (DockerException, RequestException) as error:
        raise EnvironmentUnable(
            f"the Docker Engine stopped answering ({reason(error)})",
            "restart it, or use `--runtime venv`",
        ) from error
