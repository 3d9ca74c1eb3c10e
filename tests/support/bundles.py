"""Small bundles with all that real ones have, to take in or to break."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from targets.cli.options import PROJECT
from targets.toolchain.base import read_recipe
from targets.toolchain.image import BASE_LABEL, image_labels, recipe_digest
from targets.toolchain.toolchain import Toolchain
from targets.transfer.bundle import (
    SCHEMA_VERSION,
    BundledBase,
    BundledImage,
    BundledToolchain,
    Manifest,
    Member,
)
from targets.transfer.compatibility import lock_digest, set_digests
from targets.transfer.host_wheels import host_locks
from targets.transfer.write_bundle import Part, write_bundle
from tests.support.small_wheels import make_wheel, toolchain

Entries = list[tuple[tarfile.TarInfo, bytes]]
"""What a tar holds."""

ROOTFS = "1" * 64
BASE_IDENTITY = f"mmdebstrap:bookworm@sha256:{ROOTFS}"


def saved_image(labels: Mapping[str, str], tags: Sequence[str] | None = None) -> bytes:
    """Return what `docker save` writes for an image with these labels, and a layer of nothing."""
    config = json.dumps({"config": {"Labels": dict(labels)}, "rootfs": {"diff_ids": ["sha256:0"]}})
    name = f"{hashlib.sha256(config.encode()).hexdigest()}.json"
    manifest = json.dumps([{"Config": name, "RepoTags": tags, "Layers": ["layer.tar"]}])
    return tar_of({name: config.encode(), "layer.tar": b"", "manifest.json": manifest.encode()})


def tar_of(files: Mapping[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


@dataclass
class Checkout:
    """A checkout whose one toolchain, `test`, needs one wheel, and whose installer is another. A
    third is of a set of packages that single steps need."""

    folder: Path
    toolchain: Toolchain
    files: dict[str, bytes]
    """What its bundle holds, by member."""

    def write(
        self, name: str = "bundle.tar", change: Callable[[dict[str, Any]], None] | None = None
    ) -> Path:
        """Write a bundle of ``files``, whose manifest is right but for ``change``."""
        output = self.folder / name
        parts = [Part(name, partial(_once, content)) for name, content in self.files.items()]
        write_bundle(output, parts, self.manifest)
        if change is not None:
            rewrite(output, partial(_edit_manifest, change))
        return output

    def manifest(self, members: Sequence[Member], configs: Mapping[str, str]) -> Manifest:
        """Return what describes ``members``."""
        image = BundledImage(member="images/test.tar", config=configs["images/test.tar"])
        base = BundledImage(member="images/base.tar", config=configs["images/base.tar"])
        return Manifest(
            schema_version=SCHEMA_VERSION,
            quern="1.2.3",
            platform="linux/amd64",
            python="3.11",
            host=host_locks(),
            toolchains=(
                BundledToolchain(
                    target="test",
                    toolchain=self.toolchain.digest,
                    lock=lock_digest(self.toolchain),
                    recipe=recipe_digest(self.toolchain),
                    image=image,
                ),
            ),
            sets=set_digests(self.toolchain),
            base=BundledBase(identity=BASE_IDENTITY, image=base),
            members=tuple(members),
        )

    @property
    def labels(self) -> dict[str, str]:
        return {**image_labels(self.toolchain), BASE_LABEL: BASE_IDENTITY}


def make_checkout(folder: Path) -> Checkout:
    wheel, tool = make_wheel(folder / "made"), make_wheel(folder / "made", "tool")
    images = folder / "images"
    shutil.copytree(PROJECT / "images" / "base", images / "base")
    toolchain(images / "base", tool)  # the installer's lock
    extra = make_wheel(folder / "made", "extra")
    toolchain(images / "lm_eval", extra)
    checkout = Checkout(folder, toolchain(images / "test", wheel), {})
    recipe = read_recipe(images / "base" / "base.toml")
    checkout.files = {
        f"base/{recipe.digest[:12]}.packages": b"libc6 1.0\n",
        "images/base.tar": saved_image({"quern.rootfs": ROOTFS}),
        "images/test.tar": saved_image(checkout.labels),
        f"wheels/{extra.name}": extra.read_bytes(),
        f"wheels/{wheel.name}": wheel.read_bytes(),
        f"wheels/{tool.name}": tool.read_bytes(),
    }
    return checkout


def _once(content: bytes) -> Iterator[bytes]:
    yield content


def _edit_manifest(change: Callable[[dict[str, Any]], None], entries: Entries) -> None:
    entry, content = entries[0]
    table = json.loads(content)
    change(table)
    edited = json.dumps(table).encode()
    entry.size = len(edited)
    entries[0] = (entry, edited)


def rewrite(path: Path, change: Callable[[Entries], None]) -> None:
    """Write the tar again with what ``change`` makes of its entries; the manifest stays."""
    with tarfile.open(path) as archive:
        entries = []
        for entry in archive.getmembers():
            file = archive.extractfile(entry)
            assert file is not None
            entries.append((entry, file.read()))
    change(entries)
    with tarfile.open(path, "w") as archive:
        for entry, content in entries:
            archive.addfile(entry, io.BytesIO(content))
