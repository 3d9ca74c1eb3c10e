"""The base image: pinned by digest from a registry, or put together here from Debian's packages."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import tomli
from docker import DockerClient
from docker.errors import APIError, ImageNotFound
from docker.models.images import Image as EngineImage
from filelock import FileLock
from pydantic import Field
from requests.exceptions import RequestException

from pipeline.model import Frozen
from targets.errors import EnvironmentUnable
from targets.toolchain.bootstrap import Bootstrap, make_rootfs, missing_tools
from targets.toolchain.context import read_chunks
from targets.toolchain.debian.assemble import assemble_rootfs
from targets.toolchain.debian.fetch import PackagesGone
from targets.toolchain.debian.lock import resolve
from targets.toolchain.debian.mirrors import mirrors
from targets.toolchain.debian.packages import PackageLock, read_locks
from targets.toolchain.engine import patience, platform_of, reason
from targets.toolchain.platforms import this_machine
from targets.toolchain.rootfs import DEBIAN_PACKAGES, MAKERS, MMDEBSTRAP, Rootfs

PROBE_SECONDS = 6
"""How long a registry may take to say that it has the base; then it counts as out of reach."""

ROOTFS_LABEL = "quern.rootfs"
MAKER_LABEL = "quern.rootfs.maker"


class Registry(Frozen):
    """Where a ready base lies."""

    reference: str = Field(pattern=r"^.+@sha256:[0-9a-f]{64}$")


class BaseRecipe(Frozen):
    """``images/base/base.toml``: the pinned reference, and what to do without a registry."""

    registry: Registry
    bootstrap: Bootstrap
    locks: Mapping[str, PackageLock] = Field(default_factory=dict)
    """By platform, the files beside the recipe."""

    @property
    def digest(self) -> str:
        """Return SHA-256 over everything this recipe says."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def bootstrapped_tag(self) -> str:
        """Return the name under which a base made here is kept."""
        return f"quern/base:{self.bootstrap.suite}-{self.digest[:12]}"

    @property
    def carried_tag(self) -> str:
        """Return the name for the registry's image where it was brought from another machine.

        An engine knows an image by its digest in a registry only if it pulled it itself.
        """
        return f"quern/base:registry-{self.digest[:12]}"

    def identity_of(self, labels: Mapping[str, str]) -> str:
        """Return what a base image of this recipe is, by its labels: made here, or pulled."""
        rootfs = labels.get(ROOTFS_LABEL)
        if rootfs is None:
            return self.registry.reference
        maker = labels.get(MAKER_LABEL)
        return f"{maker if maker in MAKERS else MMDEBSTRAP}:{self.bootstrap.suite}@sha256:{rootfs}"


@dataclass(frozen=True)
class Base:
    """A base image that the engine has."""

    image: str
    """What ``FROM`` names."""
    identity: str
    """What it is, for digests and reports: a reference with digest, or a root file system's."""


def read_recipe(path: Path) -> BaseRecipe:
    """Return the recipe in the TOML file ``path``, with the package locks beside it."""
    recipe = tomli.loads(path.read_text(encoding="utf-8"))
    return BaseRecipe.model_validate({**recipe, "locks": read_locks(path.parent)})


def ensure_base(
    client: DockerClient, recipe: BaseRecipe, cache: Path, say: Callable[[str], None]
) -> Base:
    """Return a base image: one the engine has, else pulled, else made here (:func:`maker`).

    Raises ``EnvironmentUnable`` when there is none and it can neither be pulled nor made.
    """
    with FileLock(_made(cache / "locks") / "base.lock"):
        found = find_base(client, recipe)
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
        return _put_together(client, recipe, cache, say)


def maker(recipe: BaseRecipe, platform: str) -> str | None:
    """Return what can put the base together here: one of ``MAKERS``. Fetches nothing.

    mmdebstrap takes the newest packages; without it they are those of the platform's lock, from the
    mirrors that this machine's apt is set to use, or the newest where these lack one of the lock.
    """
    if not missing_tools() and platform == this_machine():
        return MMDEBSTRAP
    suite, lock = recipe.bootstrap.suite, recipe.locks.get(platform)
    if lock is None or not lock.fits(suite, recipe.bootstrap.packages):
        return None
    places = mirrors(suite)
    there = all(package.release in places for package in lock.package)
    return DEBIAN_PACKAGES if there else None


def find_base(client: DockerClient, recipe: BaseRecipe) -> Base | None:
    """Return the base image if the engine has it: pulled, brought along, or made here."""
    names = (recipe.registry.reference, recipe.carried_tag, recipe.bootstrapped_tag)
    for name in names:
        try:
            image = client.images.get(name)
        except ImageNotFound:
            continue
        return Base(name, recipe.identity_of(image.labels))
    return None


def adopt_base(image: EngineImage, recipe: BaseRecipe) -> Base:
    """Name an image that was loaded, so that :func:`find_base` finds it."""
    tag = recipe.bootstrapped_tag if ROOTFS_LABEL in image.labels else recipe.carried_tag
    image.tag(*tag.split(":"))
    return Base(tag, recipe.identity_of(image.labels))


def packages_file(recipe: BaseRecipe, cache: Path) -> Path:
    """Return where the Debian versions in a base that was made here are written down."""
    return cache / "base" / f"{recipe.digest[:12]}.packages"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _registry_has(client: DockerClient, reference: str) -> bool:
    """Ask, through the engine, whether its registry serves ``reference``; quick in its answer."""
    try:
        with patience(client, PROBE_SECONDS):
            client.images.get_registry_data(reference)
    except (APIError, RequestException):
        return False
    return True


def _put_together(
    client: DockerClient, recipe: BaseRecipe, cache: Path, say: Callable[[str], None]
) -> Base:
    platform = platform_of(client)
    made_by = maker(recipe, platform)
    rootfs = _rootfs(recipe, platform, made_by, _made(cache / "base"), say)
    labels = {ROOTFS_LABEL: rootfs.sha256, MAKER_LABEL: str(made_by)}
    try:
        changes = [
            *(f"LABEL {name}={value}" for name, value in labels.items()),
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
    return Base(recipe.bootstrapped_tag, recipe.identity_of(labels))


def _rootfs(
    recipe: BaseRecipe,
    platform: str,
    made_by: str | None,
    folder: Path,
    say: Callable[[str], None],
) -> Rootfs:
    bootstrap, name = recipe.bootstrap, recipe.digest[:12]
    if made_by == MMDEBSTRAP:
        return make_rootfs(bootstrap, folder, name)
    if made_by == DEBIAN_PACKAGES:
        places, epoch = mirrors(bootstrap.suite), bootstrap.source_date_epoch
        try:
            return assemble_rootfs(recipe.locks[platform], places, epoch, folder, name)
        except PackagesGone as gone:
            # Debian removes a version soon after its successor is out: no base would be worse.
            say(f"{gone}\ntaking the versions that Debian's signed lists have now; {gone.hint}")
            return assemble_rootfs(resolve(bootstrap, platform), places, epoch, folder, name)
    needed = " ".join(missing_tools()) or "mmdebstrap"
    raise EnvironmentUnable(
        f"no registry serves the base image, {needed} to make it is not installed, and apt of this "
        "machine has no mirror to fetch the packages of its lock from",
        f"let the engine reach a registry, `apt-get install {needed}`, or use `--runtime venv`",
    )
