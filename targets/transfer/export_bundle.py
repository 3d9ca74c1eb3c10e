"""Exports toolchains to a bundle, for a machine without network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from docker import DockerClient

from targets.toolchain.base import BaseImage, BaseRecipe, ensure_base, packages_file, read_recipe
from targets.toolchain.context import read_chunks
from targets.toolchain.debian.extra_files import extra_packages
from targets.toolchain.image import base_dir, ensure_image, recipe_digest
from targets.toolchain.toolchain import Toolchain
from targets.toolchain.wheelhouse import Wheelhouse
from targets.transfer.bundle import (
    BASE,
    BASE_IMAGE,
    HOST,
    IMAGES,
    PACKAGES,
    SCHEMA_VERSION,
    WHEELS,
    BundledBase,
    BundledImage,
    BundledToolchain,
    Manifest,
    Member,
)
from targets.transfer.compatibility import lock_digest, set_digests, wheel_locks
from targets.transfer.engine_images import save
from targets.transfer.host_wheels import PYTHON, host_locks, host_wheels
from targets.transfer.progress import Say, gigabytes, with_progress
from targets.transfer.write_bundle import Part, write_bundle
from targets.version import quern_version


@dataclass(frozen=True)
class _Images:
    """The engine's images: IDs by member name, and the base from which they are built."""

    by_member: Mapping[str, str]
    base: BaseImage


def export_bundle(
    toolchains: Sequence[Toolchain],
    client: DockerClient | None,
    cache: Path,
    output: Path,
    say: Say,
) -> Manifest:
    """Write a bundle of ``toolchains``, all of one platform, to ``output``; return its manifest.

    Missing wheels and images are fetched and built first. Without a ``client`` the bundle has no
    images. Raises ``EnvironmentUnable`` if something cannot be fetched or built, or if the disk is
    full.
    """
    recipe = read_recipe(base_dir(toolchains[0]) / "base.toml")
    files = {
        **_named(WHEELS, _wheels(toolchains, cache, say)),
        **_named(HOST, host_wheels(cache, say)),
    }
    for toolchain in toolchains:
        files |= _named(PACKAGES, extra_packages(toolchain, cache, say).values())
    images = None if client is None else _images(client, toolchains, recipe, cache, say)
    packages = packages_file(recipe, cache)
    if packages.exists():
        files |= _named(BASE, [packages])
    parts = [Part(name, partial(read_chunks, path)) for name, path in files.items()]
    if client is not None and images is not None:
        parts += [_image_part(client, member, id_, say) for member, id_ in images.by_member.items()]
    parts.sort(key=lambda part: part.name)
    say(f"writing {output}")

    def describe(members: Sequence[Member], configs: Mapping[str, str]) -> Manifest:
        return _manifest(toolchains, images, members, configs)

    return write_bundle(output, parts, describe)


def _named(folder: str, paths: Iterable[Path]) -> dict[str, Path]:
    return {f"{folder}{path.name}": path for path in paths}


def _wheels(toolchains: Sequence[Toolchain], cache: Path, say: Say) -> list[Path]:
    wheelhouse = Wheelhouse(cache / "wheels")
    return [
        wheel.path
        for toolchain in toolchains
        for one in wheel_locks(toolchain)
        for wheel in wheelhouse.ensure(one, say)
    ]


def _images(
    client: DockerClient, toolchains: Sequence[Toolchain], recipe: BaseRecipe, cache: Path, say: Say
) -> _Images:
    ids = {
        _image_member(toolchain): ensure_image(client, toolchain, cache, say).id
        for toolchain in toolchains
    }
    base = ensure_base(client, recipe, cache, say)
    ids[BASE_IMAGE] = str(client.images.get(base.image).id)
    return _Images(ids, base)


def _image_member(toolchain: Toolchain) -> str:
    return f"{IMAGES}{toolchain.target}.tar"


def _image_part(client: DockerClient, member: str, id_: str, say: Say) -> Part:
    size = int(client.images.get(id_).attrs["Size"])

    def chunks() -> Iterator[bytes]:
        say(f"{member}: {gigabytes(size)}, from the engine")
        return with_progress(save(client, id_), member, size, say)

    return Part(member, chunks)


def _manifest(
    toolchains: Sequence[Toolchain],
    images: _Images | None,
    members: Sequence[Member],
    configs: Mapping[str, str],
) -> Manifest:
    def image(member: str) -> BundledImage | None:
        return BundledImage(member=member, config=configs[member]) if member in configs else None

    base = image(BASE_IMAGE)
    return Manifest(
        schema_version=SCHEMA_VERSION,
        quern=quern_version(),
        platform=toolchains[0].platform,
        python=PYTHON,
        host=host_locks(),
        toolchains=tuple(
            BundledToolchain(
                target=toolchain.target,
                toolchain=toolchain.digest,
                lock=lock_digest(toolchain),
                recipe=recipe_digest(toolchain),
                image=image(_image_member(toolchain)),
            )
            for toolchain in toolchains
        ),
        sets=set_digests(toolchains[0]),
        base=BundledBase(identity=images.base.identity, image=base) if images and base else None,
        members=tuple(members),
    )
