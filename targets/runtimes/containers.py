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
from targets.runtimes.heartbeat import while_answering
from targets.runtimes.served_images import ServedImages
from targets.toolchain.base import BaseSource, base_sources, ensure_base, no_base
from targets.toolchain.engine import (
    ANSWER_SECONDS,
    connect,
    data_root,
    reason,
    request_timeout,
    require_shared_folders,
)
from targets.toolchain.image import (
    Image,
    base_recipe,
    find_image,
    image_needs,
    pulled_needs,
    require_same_platform,
)
from targets.toolchain.platforms import or_venv
from targets.toolchain.registry.image_registry import ImageRegistry
from targets.toolchain.registry.settings import RegistrySettings
from targets.toolchain.toolchain import Toolchain

_LEAST_FREE = 32 * 2**20
"""Free bytes that an engine needs on its disk to run a container of an existing image."""


class Containers:
    """A usable engine of this machine, and the toolchains' images that it has.

    Answers are cached, so create a new object for every command.
    """

    def __init__(self, cache: Path, registry: RegistrySettings | None = None) -> None:
        """Connect to the engine. Raises ``EnvironmentUnable`` if it cannot be used."""
        self.client: DockerClient = connect()
        self.registry = None if registry is None else ImageRegistry(registry)
        self._cache = cache
        self._sources: dict[str, tuple[BaseSource, ...]] = {}
        self._served = None if self.registry is None else ServedImages(self.client, self.registry)
        with _answering(self.client):
            require_shared_folders(self.client, cache)

    def find(self, toolchain: Toolchain) -> Image | None:
        """Return the image of ``toolchain`` if the engine has it."""
        with _answering(self.client):
            return find_image(self.client, toolchain, self.registry)

    def require(self, toolchains: Iterable[Toolchain]) -> str:
        """Return, in words, where the images of ``toolchains`` come from. Fetches nothing.

        Raises ``EnvironmentUnable`` if an image neither exists nor can be had.
        """
        with _answering(self.client):
            required = tuple(toolchains)
            for toolchain in required:
                require_same_platform(self.client, toolchain)
            missing = self._missing_images(required)
            pulled = [one for one in missing if not self._lack(one)]
            built = [one for one in missing if self._lack(one)]
            require_room(self._needs(built, pulled))
            if not missing:
                return f"{_images(required)} here"
            return "; ".join(self._origins(built, pulled))

    def _origins(self, built: Sequence[Toolchain], pulled: Sequence[Toolchain]) -> Iterator[str]:
        if self.registry is not None and pulled:
            yield f"{_images(pulled)} in {self.registry.address}"
        if built:
            sources = self._sources_of(built[0])
            if not sources:
                raise no_base()
            why = "" if self.registry is None else f" ({self._lack(built[0])})"
            yield f"{_images(built)} not built yet{why}, and {sources[0].words}"

    def fetch(self, toolchains: Iterable[Toolchain], say: Callable[[str], None]) -> None:
        """Get what the images that are not here need: they themselves from the registry, else the
        base to build them on. Raises ``EnvironmentUnable``."""
        with while_answering(self.client):
            self._fetch(toolchains, say)

    def _fetch(self, toolchains: Iterable[Toolchain], say: Callable[[str], None]) -> None:
        with _answering(self.client):
            missing = self._missing_images(toolchains)
        if self._served is not None:
            lacking = [(self._served.pull(toolchain, say), toolchain) for toolchain in missing]
            for lack in dict.fromkeys(lack for lack, _ in lacking if lack):
                of = [toolchain for why, toolchain in lacking if why == lack]
                say(f"{_images(of)} built here: {lack}")
            missing = [toolchain for lack, toolchain in lacking if lack]
        if missing:
            with _answering(self.client):
                sources = self._sources_of(missing[0])
            ensure_base(self.client, base_recipe(missing[0]), self._cache, say, sources)

    def _lack(self, toolchain: Toolchain) -> str:
        """Return why no registry serves the image; empty if one does."""
        return "there is no registry" if self._served is None else self._served.lack(toolchain)

    def _missing_images(self, toolchains: Iterable[Toolchain]) -> Sequence[Toolchain]:
        return [one for one in toolchains if find_image(self.client, one, self.registry) is None]

    def _sources_of(self, toolchain: Toolchain) -> tuple[BaseSource, ...]:
        recipe = base_recipe(toolchain)
        if recipe.digest not in self._sources:
            self._sources[recipe.digest] = base_sources(self.client, recipe)
        return self._sources[recipe.digest]

    def _needs(self, built: Iterable[Toolchain], pulled: Iterable[Toolchain]) -> Iterator[Need]:
        root = data_root(self.client)
        if root is not None:
            remedy = or_venv("`docker system prune` frees space")
            yield Need(root, _LEAST_FREE, "a container", remedy)
        for toolchain in built:
            yield from image_needs(self.client, toolchain, self._cache, self.registry)
        for toolchain in pulled:
            yield from pulled_needs(self.client, toolchain)


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
            or_venv("restart it"),
        ) from error
