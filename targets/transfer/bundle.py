"""The format of a bundle: one plain tar with the toolchains of some targets for one platform.

In the tar, in this order::

    manifest.json           the members that follow, with sizes and digests
    base/DIGEST.packages    Debian's versions in a base image that was made locally
    host/*.whl              Quern's own packages, for ``./nox`` itself
    images/TARGET.tar       the engine's image, as ``docker save`` writes it
    images/base.tar         the image from which it is built
    packages/SHA256.deb     Debian packages of which a toolchain has single files
    wheels/*.whl            the wheels in the locks of the toolchains, of their installer, and of
                            the packages that single steps need beside
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from pipeline.contract.frozen import Frozen
from targets.toolchain.toolchain import Toolchain

SCHEMA_VERSION = 2

MANIFEST = "manifest.json"
WHEELS = "wheels/"
HOST = "host/"
IMAGES = "images/"
BASE = "base/"
PACKAGES = "packages/"
BASE_IMAGE = f"{IMAGES}base.tar"

_SHA256 = r"^[0-9a-f]{64}$"
_WORD = r"[A-Za-z0-9_][A-Za-z0-9._+!-]*"
_NAME = (
    rf"^((wheels|host)/{_WORD}\.whl|images/{_WORD}\.tar|base/{_WORD}\.packages"
    r"|packages/[0-9a-f]{64}\.deb)$"
)


class Member(Frozen):
    """One file of the tar."""

    name: str = Field(pattern=_NAME)
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=_SHA256)


class BundledImage(Frozen):
    """An image as a member of the tar."""

    member: str
    config: str = Field(pattern=_SHA256)
    """SHA-256 of the image's config, which lists the digests of all layers."""


class BundledBase(Frozen):
    """The base image, so that a toolchain's image can be rebuilt without network."""

    identity: str
    """The same as :attr:`targets.toolchain.base.BaseImage.identity`."""
    image: BundledImage


class BundledToolchain(Frozen):
    """A target's toolchain: the digests that a checkout must have too, and its image, if any."""

    target: str
    toolchain: str
    """Digest of lock, Python, platform and environment."""
    lock: str
    """SHA-256 of the lock file."""
    recipe: str
    """Digest of everything that the image depends on."""
    image: BundledImage | None


class Manifest(Frozen):
    """``manifest.json``."""

    schema_version: int
    quern: str
    """Version of Quern that wrote the bundle."""
    platform: str
    """Docker's name of the platform: ``linux/amd64``."""
    python: str
    """Minor version that the wheels below ``host/`` are for: that of the machine that wrote it."""
    host: dict[str, str]
    """SHA-256 of each lock whose wheels are below ``host/``, by file name."""
    toolchains: tuple[BundledToolchain, ...] = Field(min_length=1)
    sets: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of the lock of each set of packages that single steps need, by its name."""
    base: BundledBase | None
    members: tuple[Member, ...]
    """Every other file of the tar, in its order."""

    @property
    def images(self) -> tuple[BundledImage, ...]:
        """Return every image, the base first."""
        bases = (self.base.image,) if self.base else ()
        return (*bases, *(one.image for one in self.toolchains if one.image is not None))

    def below(self, folder: str) -> tuple[Member, ...]:
        """Return the members in ``folder`` (``wheels/``)."""
        return tuple(member for member in self.members if member.name.startswith(folder))


def file_name(toolchains: Sequence[Toolchain]) -> str:
    """Return the file name of a bundle of ``toolchains``, all of one platform."""
    targets = "-".join(toolchain.target for toolchain in toolchains)
    return f"toolchain-{targets}-{toolchains[0].platform.replace('/', '-')}.tar"
