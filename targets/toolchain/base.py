"""The base image: pulled by digest from a registry, or made here from Debian's packages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tomli
from docker import DockerClient
from docker.errors import APIError, ImageNotFound
from docker.models.images import Image as EngineImage
from pydantic import Field
from requests.exceptions import RequestException

from pipeline.contract.frozen import Frozen
from pipeline.contract.sha256 import sha256_of_bytes
from targets.errors import EnvironmentUnable
from targets.toolchain.bootstrap import Bootstrap, make_rootfs, missing_tools
from targets.toolchain.context import read_chunks
from targets.toolchain.debian.assemble import assemble_rootfs
from targets.toolchain.debian.fetch import PackagesGone
from targets.toolchain.debian.mirrors import mirrors
from targets.toolchain.debian.own_mirror import HOST, debians_mirrors, fetch, has_packages
from targets.toolchain.debian.package_lock import require_none_older, resolve
from targets.toolchain.debian.packages import PackageLock, read_locks
from targets.toolchain.engine import import_image, platform_of, reason, request_timeout
from targets.toolchain.engine_lock import engine_lock
from targets.toolchain.platforms import or_venv, this_machine
from targets.toolchain.rootfs import DEBIAN_PACKAGES, MAKERS, MMDEBSTRAP, Rootfs

PROBE_SECONDS = 6
"""Time limit for a registry to confirm that it has the base; then it counts as unreachable."""

ROOTFS_LABEL = "quern.rootfs"
MAKER_LABEL = "quern.rootfs.maker"


class Registry(Frozen):
    """The location of a ready base image."""

    reference: str = Field(pattern=r"^.+@sha256:[0-9a-f]{64}$")


class BaseRecipe(Frozen):
    """``images/base/base.toml``: the pinned reference, and what to do without a registry."""

    registry: Registry
    bootstrap: Bootstrap
    locks: Mapping[str, PackageLock] = Field(default_factory=dict)
    """Package locks by platform, from the files beside the recipe."""

    @property
    def digest(self) -> str:
        """Return SHA-256 over the content of this recipe."""
        return sha256_of_bytes(self.model_dump_json().encode())

    def fitting_lock(self, platform: str) -> PackageLock | None:
        """Return the lock of the packages for ``platform``, if there is one of this recipe."""
        lock = self.locks.get(platform)
        fits = lock is not None and lock.fits(self.bootstrap.suite, self.bootstrap.packages)
        return lock if fits else None

    @property
    def bootstrapped_tag(self) -> str:
        """Return the tag of a base image that was made here."""
        return f"quern/base:{self.bootstrap.suite}-{self.digest[:12]}"

    @property
    def imported_tag(self) -> str:
        """Return the tag of the registry's image if it was imported from another machine.

        An engine knows an image by its registry digest only if it pulled the image itself.
        """
        return f"quern/base:registry-{self.digest[:12]}"

    def identity_of(self, labels: Mapping[str, str]) -> str:
        """Return the identity of a base image of this recipe from its labels."""
        rootfs = labels.get(ROOTFS_LABEL)
        if rootfs is None:
            return self.registry.reference
        maker = labels.get(MAKER_LABEL)
        return f"{maker if maker in MAKERS else MMDEBSTRAP}:{self.bootstrap.suite}@sha256:{rootfs}"


@dataclass(frozen=True)
class BaseImage:
    """A base image in the engine."""

    image: str
    """Name of the image for ``FROM``."""
    identity: str
    """Identity for digests and reports: a reference with digest, or that of a root file system."""


@dataclass(frozen=True)
class BaseSource:
    """A way to get the base image."""

    words: str
    """Description: ``mmdebstrap makes its base``."""
    get: Callable[[DockerClient, BaseRecipe, Path, Callable[[str], None]], BaseImage]
    """Function of engine, recipe, cache and a callback for messages; raises ``EnvironmentUnable``.
    """


def read_recipe(path: Path) -> BaseRecipe:
    """Return the recipe in the TOML file ``path``, with the package locks beside it."""
    recipe = tomli.loads(path.read_text(encoding="utf-8"))
    return BaseRecipe.model_validate({**recipe, "locks": read_locks(path.parent)})


def ensure_base(
    client: DockerClient,
    recipe: BaseRecipe,
    cache: Path,
    say: Callable[[str], None],
    sources: Sequence[BaseSource] | None = None,
) -> BaseImage:
    """Return the base image, from the first of ``sources`` that succeeds.

    ``sources`` default to :func:`base_sources`. Raises ``EnvironmentUnable`` if all of them fail.
    """

    def waiting() -> None:
        say("another build makes the base image on this engine; waiting for it to finish")

    with engine_lock(client, "base", waiting):
        base = find_base(client, recipe)
        if base is not None:
            return base
        failure: EnvironmentUnable | None = None
        for source in base_sources(client, recipe) if sources is None else sources:
            if failure is not None:
                say(str(failure))
            try:
                return source.get(client, recipe, cache, say)
            except EnvironmentUnable as error:
                failure = error
        raise failure or no_base()


def base_sources(client: DockerClient, recipe: BaseRecipe) -> tuple[BaseSource, ...]:
    """Return the ways to get the base on this machine, best first; empty if there are none.

    Nothing is fetched. A registry is asked once, for at most :data:`PROBE_SECONDS`, and so is
    Debian's own mirror where apt of this machine knows none.
    """
    base = find_base(client, recipe)
    if base is not None:
        name = base.image.partition("@")[0]
        return (BaseSource(f"its base {name} is here", lambda *_: base),)
    platform = platform_of(client)
    made = [_MAKING[name] for name in makers(recipe, platform)]
    lock = recipe.fitting_lock(platform)
    if _MAKING[DEBIAN_PACKAGES] not in made and lock is not None and has_packages(lock):
        made.insert(0, _FROM_DEBIAN)
    if _registry_has(client, recipe.registry.reference):
        made.insert(0, BaseSource("a registry serves its base", _pull))
    return tuple(made)


def makers(recipe: BaseRecipe, platform: str) -> tuple[str, ...]:
    """Return which of ``MAKERS`` can make the base on this machine, best first. Fetches nothing.

    The packages of the platform's lock come first, from the mirrors that this machine's apt is
    configured to use. mmdebstrap takes the newest, and only for this machine's platform.
    """
    usable = []
    lock = recipe.fitting_lock(platform)
    if lock is not None:
        places = mirrors(recipe.bootstrap.suite)
        if all(package.release in places for package in lock.package):
            usable.append(DEBIAN_PACKAGES)
    if not missing_tools() and platform == this_machine():
        usable.append(MMDEBSTRAP)
    return tuple(usable)


def no_base() -> EnvironmentUnable:
    """Return the error for a machine that has no way to get the base."""
    needed = " ".join(missing_tools()) or "mmdebstrap"
    return EnvironmentUnable(
        "no base image can be had: the Docker Engine reaches no registry that serves it, "
        f"{needed} to make it is not installed, and neither apt of this machine nor "
        f"{HOST} serves the packages in its lock",
        or_venv(f"`apt-get install {needed}`, or let the engine reach a registry"),
    )


def find_base(client: DockerClient, recipe: BaseRecipe) -> BaseImage | None:
    """Return the base image if the engine has it: pulled, imported, or made here."""
    names = (recipe.registry.reference, recipe.imported_tag, recipe.bootstrapped_tag)
    for name in names:
        try:
            image = client.images.get(name)
        except ImageNotFound:
            continue
        return BaseImage(name, recipe.identity_of(image.labels))
    return None


def adopt_base(image: EngineImage, recipe: BaseRecipe) -> BaseImage:
    """Tag a loaded image, so that :func:`find_base` finds it."""
    tag = recipe.bootstrapped_tag if ROOTFS_LABEL in image.labels else recipe.imported_tag
    image.tag(*tag.split(":"))
    return BaseImage(tag, recipe.identity_of(image.labels))


def packages_file(recipe: BaseRecipe, cache: Path) -> Path:
    """Return the path of the list of Debian versions in a base that was made here."""
    return cache / "base" / f"{recipe.digest[:12]}.packages"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _registry_has(client: DockerClient, reference: str) -> bool:
    """Return whether the engine's registry has ``reference``, within :data:`PROBE_SECONDS`."""
    try:
        with request_timeout(client, PROBE_SECONDS):
            client.images.get_registry_data(reference)
    except (APIError, RequestException):
        return False
    return True


def _pull(
    client: DockerClient, recipe: BaseRecipe, _cache: Path, say: Callable[[str], None]
) -> BaseImage:
    reference = recipe.registry.reference
    say(f"pulling {reference}")
    try:
        client.images.pull(reference)
    except (APIError, RequestException) as error:
        raise EnvironmentUnable(
            f"the base image cannot be pulled: {reason(error)}",
            or_venv("check the engine's network and disk"),
        ) from error
    return BaseImage(reference, reference)


def _bootstrap(
    client: DockerClient, recipe: BaseRecipe, cache: Path, say: Callable[[str], None]
) -> BaseImage:
    say("putting the base image together with mmdebstrap")
    rootfs = make_rootfs(recipe.bootstrap, _made(cache / "base"), recipe.digest[:12])
    lock = recipe.locks.get(platform_of(client))
    if lock is not None:
        require_none_older(rootfs.versions, lock)
    return _imported(client, recipe, rootfs, MMDEBSTRAP)


def _assemble(
    client: DockerClient, recipe: BaseRecipe, cache: Path, say: Callable[[str], None]
) -> BaseImage:
    say("putting the base image together from the Debian packages of its lock")
    bootstrap, platform = recipe.bootstrap, platform_of(client)
    folder, name = _made(cache / "base"), recipe.digest[:12]
    places, epoch = mirrors(bootstrap.suite), bootstrap.source_date_epoch
    try:
        rootfs = assemble_rootfs(recipe.locks[platform], places, epoch, folder, name)
    except PackagesGone as gone:
        # Debian removes a version soon after its successor is out: no base would be worse.
        say(f"{gone}\ntaking the versions that Debian's signed lists have now; {gone.hint}")
        now = resolve(bootstrap, platform)
        versions = {package.name: package.version for package in now.package}
        require_none_older(versions, recipe.locks[platform])
        rootfs = assemble_rootfs(now, places, epoch, folder, name)
    return _imported(client, recipe, rootfs, DEBIAN_PACKAGES)


def _assemble_from_debian(
    client: DockerClient, recipe: BaseRecipe, cache: Path, say: Callable[[str], None]
) -> BaseImage:
    say(f"putting the base image together from the packages of its lock, which {HOST} has")
    bootstrap, platform = recipe.bootstrap, platform_of(client)
    folder, name = _made(cache / "base"), recipe.digest[:12]
    places, epoch = debians_mirrors(bootstrap.suite), bootstrap.source_date_epoch
    rootfs = assemble_rootfs(recipe.locks[platform], places, epoch, folder, name, fetch)
    return _imported(client, recipe, rootfs, DEBIAN_PACKAGES)


_FROM_DEBIAN = BaseSource(
    f"its base is made from locked Debian packages of {HOST}", _assemble_from_debian
)
_MAKING = {
    MMDEBSTRAP: BaseSource("mmdebstrap makes its base", _bootstrap),
    DEBIAN_PACKAGES: BaseSource("its base is made from locked Debian packages", _assemble),
}


def _imported(client: DockerClient, recipe: BaseRecipe, rootfs: Rootfs, made_by: str) -> BaseImage:
    """Import ``rootfs`` into the engine, and remove the file."""
    labels = {ROOTFS_LABEL: rootfs.sha256, MAKER_LABEL: made_by}
    try:
        changes = [
            *(f"LABEL {name}={value}" for name, value in labels.items()),
            f"LABEL quern.base={recipe.bootstrap.suite}",
            'CMD ["/usr/bin/python3"]',
        ]
        name, _, tag = recipe.bootstrapped_tag.partition(":")
        with request_timeout(client, 600):
            client.api.tag(import_image(client, read_chunks(rootfs.tar), changes), name, tag)
    except (APIError, RequestException) as error:
        raise EnvironmentUnable(
            f"the engine cannot import the base image: {reason(error)}"
        ) from error
    finally:
        rootfs.tar.unlink(missing_ok=True)
    return BaseImage(recipe.bootstrapped_tag, recipe.identity_of(labels))
