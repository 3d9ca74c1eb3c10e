"""What of an image is not as its recipe has it."""

from __future__ import annotations

from typing import Any

import pytest

from targets.target import load_target
from targets.toolchain.image import expected_image
from targets.toolchain.registry.expected import ExpectedImage

PLATFORM = "linux/amd64"
LAYER = "c0" * 32


@pytest.fixture
def expected() -> ExpectedImage:
    return expected_image(load_target("cpu").toolchain(PLATFORM))


@pytest.fixture
def image(expected: ExpectedImage) -> dict[str, Any]:
    """Return what an engine says of an image that was built by the recipe."""
    return {
        "Os": "linux",
        "Architecture": "amd64",
        "Config": {
            "User": "",
            "Env": [
                "PATH=/opt/quern/bin:/usr/local/bin:/usr/bin:/bin",
                "LANG=C.UTF-8",
                "PYTHONDONTWRITEBYTECODE=1",
                "PYTHONUNBUFFERED=1",
            ],
            "Cmd": ["/opt/quern/bin/python"],
            "Volumes": None,
            "WorkingDir": "",
            "Entrypoint": None,
            "OnBuild": None,
            "Labels": {
                **expected.labels,
                "quern.base": f"mmdebstrap:bookworm@sha256:{LAYER}",
                "quern.rootfs": LAYER,
            },
        },
        "RootFS": {"Type": "layers", "Layers": [f"sha256:{LAYER}", f"sha256:{'1' * 64}"]},
    }


def test_the_tag_is_target_and_recipe(expected: ExpectedImage) -> None:
    target, _, recipe = expected.tag.partition("-")
    assert (target, len(recipe)) == ("cpu", 64)
    assert expected.tag != expected_image(load_target("cpu").toolchain("linux/arm64")).tag


def test_the_image_of_the_recipe_has_no_difference(
    expected: ExpectedImage, image: dict[str, Any]
) -> None:
    assert list(expected.differences(image)) == []
    assert list(expected.differences({**image, "RootFS": {"Type": "layers"}}))


def test_a_base_of_a_registry_may_set_variables_of_its_own(
    expected: ExpectedImage, image: dict[str, Any]
) -> None:
    image["Config"]["Labels"]["quern.base"] = f"python:3.11-slim-bookworm@sha256:{'2' * 64}"
    image["Config"]["Env"].append("PYTHON_VERSION=3.11.9")
    assert list(expected.differences(image)) == []


@pytest.mark.parametrize(
    ("place", "name", "value", "told"),
    [
        ("Labels", "quern.recipe", "0", "its label quern.recipe is '0'"),
        ("Labels", "quern.target", "cuda", "its label quern.target is 'cuda'"),
        ("Labels", "quern.toolchain", "0", "its label quern.toolchain is '0'"),
        ("Labels", "quern.base", "mine", "its label quern.base names no base"),
        (
            "Labels",
            "quern.base",
            f"debian-packages:bookworm@sha256:{'3' * 64}",
            f"its first layer is not the base debian-packages:bookworm@sha256:{'3' * 64}",
        ),
        ("", "Architecture", "arm64", "it is for linux/arm64"),
        ("", "Os", "windows", "it is for windows/amd64"),
        ("Config", "Env", ["LD_PRELOAD=/evil.so"], "it sets other variables: LANG, LD_PRELOAD"),
        ("Config", "Env", None, "it sets other variables: LANG, PATH"),
        ("Config", "Cmd", ["/evil"], "its command is ['/evil']"),
        ("Config", "Cmd", None, "its command is None"),
        ("Config", "Entrypoint", ["/evil"], "it sets Entrypoint: ['/evil']"),
        ("Config", "User", "0", "it sets User: '0'"),
        ("Config", "OnBuild", ["RUN evil"], "it sets OnBuild: ['RUN evil']"),
        ("Config", "Volumes", {"/opt": {}}, "it sets Volumes: {'/opt': {}}"),
        ("Config", "WorkingDir", "/evil", "it sets WorkingDir: '/evil'"),
        ("Config", "Healthcheck", {"Test": ["CMD"]}, "it sets Healthcheck"),
        ("Config", "Labels", None, "its label quern.target is 'missing'"),
    ],
)
def test_each_difference_is_named(
    expected: ExpectedImage, image: dict[str, Any], place: str, name: str, value: Any, told: str
) -> None:
    table = {"": image, "Config": image["Config"], "Labels": image["Config"]["Labels"]}[place]
    table[name] = value
    assert told in "; ".join(expected.differences(image))
