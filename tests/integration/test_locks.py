"""Every lock resolves: there is a wheel of each pin for that platform, and its hash is right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.version import Version

from targets.target import load_target, target_names
from targets.toolchain.platforms import platform_named
from targets.toolchain.requirements import Pin, read_lock
from targets.toolchain.run_tool import ToolFailed
from targets.toolchain.toolchain import Toolchain
from targets.toolchain.uv import index_environment, uv
from targets.toolchain.wheelhouse import Wheelhouse


def toolchains() -> Iterator[Toolchain]:
    for name in target_names():
        target = load_target(name)
        yield from (target.toolchain(platform) for platform in target.platforms)


def resolve(toolchain: Toolchain, pins: Sequence[Pin], folder: Path) -> None:
    """Find a wheel for every pin, and fetch none. Raises ``ToolFailed``."""
    requirements = folder / "requirements.txt"
    requirements.write_text("".join(f"{pin.requirement()}\n" for pin in pins))
    uv(
        *("pip", "install", "--dry-run", "--no-deps", "--require-hashes"),
        *("--only-binary", ":all:", "--target", str(folder / "nowhere")),
        *("--python-version", toolchain.python, "--index-strategy", "unsafe-best-match"),
        *("--python-platform", platform_named(toolchain.platform).uv),
        *("--requirement", str(requirements)),
        environment=index_environment(),
    )


@pytest.mark.parametrize(
    "toolchain", list(toolchains()), ids=lambda item: f"{item.target}-{item.platform}"
)
def test_a_lock_resolves(toolchain: Toolchain, tmp_path: Path) -> None:
    pins = read_lock(toolchain.lock)
    # PyTorch's own index serves these, and is not reached from everywhere; fetching an image's
    # wheels, which other tests do, checks them.
    common = [pin for pin in pins if pin.pytorch_index is None]
    assert len(common) >= len(pins) - 1
    try:
        resolve(toolchain, common, tmp_path)
    except ToolFailed as error:
        pytest.fail(f"{toolchain.lock} does not resolve:\n{error.output}")


def test_a_pin_that_no_index_has_is_found(tmp_path: Path) -> None:
    toolchain = load_target("directml").toolchain("windows/amd64")
    pins = [pin for pin in read_lock(toolchain.lock) if pin.name == "onnxruntime-directml"]
    with pytest.raises(ToolFailed):
        resolve(toolchain, [replace(pin, version=Version("99")) for pin in pins], tmp_path)


@pytest.mark.parametrize(("target", "platform"), [("directml", "windows/amd64")])
def test_wheels_of_a_machine_that_is_not_this_one_have_the_locked_hashes(
    target: str, platform: str, tmp_path: Path
) -> None:
    toolchain = load_target(target).toolchain(platform)
    wheels = Wheelhouse(tmp_path / "wheels").ensure(toolchain, print)
    assert {wheel.pin for wheel in wheels} == set(read_lock(toolchain.lock))
    assert any(wheel.path.name.endswith("win_amd64.whl") for wheel in wheels)
