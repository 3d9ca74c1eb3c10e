"""Checks that a bundle is for this machine and this checkout. Writes nothing.

A bundle for another machine or checkout raises ``ConfigError``, a wrong content ``CheckFailed``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from pipeline.contract.sha256 import sha256_of_file
from targets.errors import ConfigError, Problem
from targets.toolchain.base import read_recipe
from targets.toolchain.debian.extra_files import locked_packages
from targets.toolchain.image import base_dir, image_labels, installer, recipe_digest
from targets.toolchain.package_set import package_sets
from targets.toolchain.requirements import read_lock
from targets.toolchain.toolchain import Toolchain
from targets.transfer.bundle import HOST, PACKAGES, WHEELS, BundledImage, Manifest
from targets.transfer.host_wheels import host_locks, host_pins
from targets.transfer.read_bundle import Bundle, damaged
from targets.transfer.saved_image import NotOneImage, SavedImage, read_saved

_ADVICE = "check out the commit it was exported from, or export it again from this one"


def require_fit(
    bundle: Bundle, platform: str, toolchain_of: Callable[[str], Toolchain]
) -> tuple[Toolchain, ...]:
    """Return this checkout's toolchains for the targets of the bundle.

    Raises ``ConfigError`` if it is for another ``platform`` or was made with other locks.
    """
    manifest = bundle.manifest
    if manifest.platform != platform:
        problem = f"is for {manifest.platform}, and this machine builds on {platform}"
        advice = "export one on a machine of that platform"
        raise ConfigError([Problem(problem, bundle.path, suggestion=advice)])
    try:
        toolchains = tuple(toolchain_of(bundled.target) for bundled in manifest.toolchains)
    except ConfigError as error:
        raise ConfigError([replace(one, file=bundle.path) for one in error.problems]) from None
    problems = [
        Problem(f"was made with another {difference} than this checkout's", bundle.path,
                suggestion=_ADVICE)
        for difference in _differences(manifest, toolchains)
    ]  # fmt: skip
    if problems:
        raise ConfigError(problems)
    return toolchains


def _differences(manifest: Manifest, toolchains: Sequence[Toolchain]) -> Iterator[str]:
    here = host_locks()
    yield from (
        name
        for name in sorted({*here, *manifest.host})
        if here.get(name) != manifest.host.get(name)
    )
    sets = set_digests(toolchains[0])
    yield from (
        f"lock of {name}"
        for name in sorted({*sets, *manifest.sets})
        if sets.get(name) != manifest.sets.get(name)
    )
    for bundled, toolchain in zip(manifest.toolchains, toolchains, strict=True):
        if bundled.lock != lock_digest(toolchain):
            yield str(_short(toolchain.lock))
        elif bundled.toolchain != toolchain.digest:
            yield f"environment of the {bundled.target} toolchain"
        elif bundled.recipe != recipe_digest(toolchain):
            yield f"{_short(base_dir(toolchain))} for {bundled.target}"


def lock_digest(toolchain: Toolchain) -> str:
    """Return SHA-256 of the lock file."""
    return sha256_of_file(toolchain.lock)


def wheel_locks(toolchain: Toolchain) -> tuple[Toolchain, ...]:
    """Return everything with a lock whose wheels a bundle has for ``toolchain``: itself, what
    installs it, and the packages that single steps need beside it."""
    sets = (one.toolchain for one in package_sets(toolchain))
    return (toolchain, installer(toolchain), *sets)


def set_digests(toolchain: Toolchain) -> dict[str, str]:
    """Return the digests of the locks of packages that single steps need, by their names."""
    return {one.name: one.digest for one in package_sets(toolchain)}


def _short(path: Path) -> Path:
    """Return ``path`` relative to the project: ``images/...``."""
    return path.relative_to(path.parents[2 if path.is_file() else 1])


def require_pinned(bundle: Bundle, toolchains: Sequence[Toolchain]) -> None:
    """Raise ``CheckFailed`` unless the wheels and packages are exactly those of the locks."""
    pins = {
        pin
        for toolchain in toolchains
        for one in wheel_locks(toolchain)
        for pin in read_lock(one.lock)
    }
    known = {(pin.name, pin.version, digest) for pin in pins for digest in pin.sha256}
    digests = set()
    for member in bundle.manifest.below(WHEELS):
        try:
            name, version, _, _ = parse_wheel_filename(member.name.removeprefix(WHEELS))
        except InvalidWheelFilename as error:
            raise damaged(bundle.path, f"{member.name}: {error}") from None
        if (name, version, member.sha256) not in known:
            raise damaged(bundle.path, f"{member.name} is not a wheel that a lock here pins")
        digests.add(member.sha256)
    missing = sorted(str(pin) for pin in pins if not pin.sha256 & digests)
    if missing:
        raise damaged(bundle.path, f"there is no wheel of {', '.join(missing)}")
    packages = {f"{PACKAGES}{digest}.deb" for one in toolchains for digest in locked_packages(one)}
    brought = {member.name for member in bundle.manifest.below(PACKAGES)}
    if brought != packages:
        raise damaged(bundle.path, f"{min(brought ^ packages)} is not what a lock here pins")
    pinned = host_pins()
    for member in bundle.manifest.below(HOST):
        if member.sha256 not in pinned:
            raise damaged(bundle.path, f"{member.name} is not a wheel that a lock here pins")


def require_images(bundle: Bundle, toolchains: Sequence[Toolchain]) -> dict[str, SavedImage]:
    """Return the identity of each image, by member name.

    Raises ``CheckFailed`` if it is not the image that the checkout would build.
    """
    images = {}
    for bundled, toolchain in zip(bundle.manifest.toolchains, toolchains, strict=True):
        if bundled.image is not None:
            saved = _saved(bundle, bundled.image)
            for label, value in image_labels(toolchain).items():
                if saved.labels.get(label) != value:
                    raise damaged(
                        bundle.path,
                        f"{bundled.image.member}: its label {label} is {saved.labels.get(label)}, "
                        f"and this checkout's is {value}",
                    )
            images[bundled.image.member] = saved
    base = bundle.manifest.base
    if base is not None:
        saved = _saved(bundle, base.image)
        recipe = read_recipe(base_dir(toolchains[0]) / "base.toml")
        if base.identity != recipe.identity_of(saved.labels):
            raise damaged(bundle.path, f"{base.image.member} is not the base {base.identity}")
        images[base.image.member] = saved
    return images


def _saved(bundle: Bundle, image: BundledImage) -> SavedImage:
    try:
        with bundle.open(image.member) as file:
            saved = read_saved(file)
    except NotOneImage as error:
        raise damaged(bundle.path, f"{image.member}: {error}") from None
    if saved.config != image.config:
        raise damaged(
            bundle.path, f"{image.member} is the image {saved.config}, not {image.config}"
        )
    return saved
