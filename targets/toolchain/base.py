"""The base image: pinned by digest from a registry, or put together here from Debian's packages."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tomli
from docker import DockerClient
from docker.errors import APIError, ImageNotFound
from filelock import FileLock
from pydantic import Field
from requests.exceptions import RequestException

from pipeline.model import Frozen
from targets.errors import EnvironmentUnable
from targets.toolchain.bootstrap import Bootstrap, make_rootfs
from targets.toolchain.context import read_chunks
from targets.toolchain.engine import patience, reason

PROBE_SECONDS = 6
"""How long a registry may take to say that it has the base; then it counts as out of reach."""

ROOTFS_LABEL = "quern.rootfs"


class Registry(Frozen):
    """Where a ready base lies."""

    reference: str = Field(pattern=r"^.+@sha256:[0-9a-f]{64}$")


class BaseRecipe(Frozen):
    """``images/base/base.toml``: the pinned reference, and what to do without a registry."""

    registry: Registry
    bootstrap: Bootstrap

    @property
    def digest(self) -> str:
        """Return SHA-256 over everything this recipe says."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def bootstrapped_tag(self) -> str:
        """Return the name under which a base made here is kept."""
        return f"quern/base:{self.bootstrap.suite}-{self.digest[:12]}"


@dataclass(frozen=True)
class Base:
    """A base image that the engine has."""

    image: str
    """What ``FROM`` names."""
    identity: str
    """What it is, for digests and reports: a reference with digest, or a root file system's."""


def read_recipe(path: Path) -> BaseRecipe:
    """Return the recipe in the TOML file ``path``."""
    return BaseRecipe.model_validate(tomli.loads(path.read_text(encoding="utf-8")))


def ensure_base(
    client: DockerClient, recipe: BaseRecipe, cache: Path, say: Callable[[str], None]
) -> Base:
    """Return a base image: one the engine has, else pulled, else bootstrapped.

    Raises ``EnvironmentUnable`` when there is none and it can neither be pulled nor made.
    """
    with FileLock(_made(cache / "locks") / "base.lock"):
        found = _local(client, recipe)
        if found is not None:
            return found
        reference = recipe.registry.reference
        if _registry_has(client, reference):
            say(f"pulling {reference}")
            try:
                client.images.pull(reference)
                return Base(reference, reference)
            except (APIError, RequestException) as error:
                say(f"pull failed: {reason(error)}")
        say("no registry in reach; putting the base together from Debian's packages")
        return _bootstrap(client, recipe, cache)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _local(client: DockerClient, recipe: BaseRecipe) -> Base | None:
    reference = recipe.registry.reference
    try:
        client.images.get(reference)
        return Base(reference, reference)
    except ImageNotFound:
        pass
    try:
        image = client.images.get(recipe.bootstrapped_tag)
    except ImageNotFound:
        return None
    return _bootstrapped(recipe, image.labels[ROOTFS_LABEL])


def _bootstrapped(recipe: BaseRecipe, rootfs: str) -> Base:
    return Base(recipe.bootstrapped_tag, f"mmdebstrap:{recipe.bootstrap.suite}@sha256:{rootfs}")


def _registry_has(client: DockerClient, reference: str) -> bool:
    """Ask, through the engine, whether its registry serves ``reference``; quick in its answer."""
    try:
        with patience(client, PROBE_SECONDS):
            client.images.get_registry_data(reference)
    except (APIError, RequestException):
        return False
    return True


def _bootstrap(client: DockerClient, recipe: BaseRecipe, cache: Path) -> Base:
    folder = _made(cache / "base")
    rootfs = make_rootfs(recipe.bootstrap, folder, recipe.digest[:12])
    try:
        changes = [
            f"LABEL {ROOTFS_LABEL}={rootfs.sha256}",
            f"LABEL quern.base={recipe.bootstrap.suite}",
            'CMD ["/usr/bin/python3"]',
        ]
        name, _, tag = recipe.bootstrapped_tag.partition(":")
        with patience(client, 600):
            client.api.import_image_from_stream(
                read_chunks(rootfs.tar), repository=name, tag=tag, changes=changes
            )
    except (APIError, RequestException) as error:
        raise EnvironmentUnable(
            f"the engine cannot import the base image: {reason(error)}"
        ) from error
    finally:
        rootfs.tar.unlink(missing_ok=True)
    return _bootstrapped(recipe, rootfs.sha256)
