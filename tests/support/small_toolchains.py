"""A toolchain of one small wheel, which nothing else uses, so that its image may be removed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from docker import DockerClient

from targets.cli.options import PROJECT
from targets.target import load_target
from targets.toolchain.image import find_image
from targets.toolchain.platforms import this_machine
from targets.toolchain.requirements import read_lock
from targets.toolchain.toolchain import Toolchain

SMALL = "packaging"
"""A wheel of the cpu lock that needs no other."""


@contextmanager
def small_toolchain(folder: Path, client: DockerClient, name: str) -> Iterator[Toolchain]:
    """Yield it as the target ``name``; its image is removed at the end."""
    cpu = load_target("cpu").toolchain(this_machine())
    images = folder / "images"
    shutil.copytree(PROJECT / "images" / "base", images / "base")
    found = replace(cpu, target=name, image_dir=images / name, parent=None)
    found.image_dir.mkdir()
    pin = next(pin for pin in read_lock(cpu.lock) if pin.name == SMALL)
    found.lock.write_text(f"{pin.requirement()}\n")
    yield found
    image = find_image(client, found)
    if image is not None:
        client.images.remove(image.tag)
