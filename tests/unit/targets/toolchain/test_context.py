"""The build context, read back with the standard library."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from targets.target import load_target
from targets.toolchain.base import read_recipe
from targets.toolchain.context import tar_stream
from targets.toolchain.image import base_dir, recipe_digest


def test_context_is_a_whole_tar_and_always_the_same(tmp_path: Path) -> None:
    wheel = tmp_path / "a.whl"
    wheel.write_bytes(b"w" * 700_001)

    first = b"".join(tar_stream({"wheels/a.whl": wheel, "Dockerfile": b"FROM x\n"}))
    wheel.touch()
    second = b"".join(tar_stream({"Dockerfile": b"FROM x\n", "wheels/a.whl": wheel}))

    assert first == second
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        assert archive.getnames() == ["Dockerfile", "wheels/a.whl"]
        member = archive.extractfile("wheels/a.whl")
        assert member is not None
        assert member.read() == wheel.read_bytes()


def test_shipped_base_is_pinned() -> None:
    toolchain = load_target("cpu").toolchain("linux/amd64")
    recipe = read_recipe(base_dir(toolchain) / "base.toml")

    assert "@sha256:" in recipe.registry.reference
    assert recipe.bootstrapped_tag.startswith("quern/base:bookworm-")
    assert len(recipe_digest(toolchain)) == 64
