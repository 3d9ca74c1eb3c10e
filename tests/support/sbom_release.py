"""A small release with everything that an SBOM may hold."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timezone
from typing import TypeVar

from targets.release.sbom.contents import (
    Artifact,
    DataSet,
    DebianPackage,
    DebianSystem,
    Metric,
    Model,
    ModelFacts,
    PythonPackage,
    Release,
    ToolchainContents,
)
from targets.release.sbom.licences import licence_of

Item = TypeVar("Item")

NUMPY = PythonPackage(
    "numpy", "2.4.6", "numpy-2.4.6-cp311-cp311-manylinux_2_28_x86_64.whl", "1" * 64,
    licence_of("BSD-3-Clause AND MIT"), "Arrays", ("Ann", "Zoë Ångström"),
)  # fmt: skip
NUMPY_OF_ARM = replace(
    NUMPY, file="numpy-2.4.6-cp311-cp311-manylinux_2_28_aarch64.whl", sha256="2" * 64
)
RICH = PythonPackage("rich", "15.0.0", "rich-15.0.0-py3-none-any.whl", "3" * 64, licence_of("MIT"))
TORCH = PythonPackage(
    "torch", "2.13.0+cpu", "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl", "9" * 64,
    licence_of("BSD-3-Clause"), index="https://download.pytorch.org/whl/cpu",
)  # fmt: skip
ODD = PythonPackage("odd", "1", "odd-1-py3-none-any.whl", "4" * 64)

TIME = datetime(2026, 11, 30, 6, 43, 14, tzinfo=timezone.utc)

SYSTEM = DebianSystem(
    "debian",
    "12",
    (
        DebianPackage("libc6", "2.36-9+deb12u14", "amd64", "glibc", "2.36-9+deb12u14", "C library"),
        DebianPackage("bash", "5.2.15-2+b13", "amd64", "bash", "5.2.15-2", maintainer="Matthias"),
    ),
)
CPU = ToolchainContents("cpu", "linux/amd64", "a" * 64, "3.11", (NUMPY, RICH, ODD, TORCH))
ARM = replace(CPU, platform="linux/arm64", digest="c" * 64, wheels=(RICH, NUMPY_OF_ARM))

BASE = Model("Org/Small", "0" * 40, digest="5" * 64, licence="apache-2.0", hub=True)
ADAPTER = Model("tone-adapter", "1.2.0", sha256="6" * 64)
TONE = DataSet("tone", sha256="7" * 64, licence="CC-BY-4.0", facts=(("rows", "1200"),))
FACTS = ModelFacts(
    "text-generation",
    (Metric("accuracy", 0.25, "base"), Metric("accuracy", 0.9, "artifact")),
    (("precision", "int4"), ("block_size", "32")),
    intended_use="Tickets.",
    limitations="English only.",
)
HELD_OUT = DataSet("tone-test", digest="8" * 64)


def release(shuffled: int = 0) -> Release:
    """Return the release, with all that has no order in the order of this seed."""
    chance = random.Random(shuffled)  # noqa: S311 - no secret

    def mixed(items: tuple[Item, ...]) -> tuple[Item, ...]:
        return tuple(chance.sample(items, len(items)))

    toolchains = [replace(toolchain, wheels=mixed(toolchain.wheels)) for toolchain in (CPU, ARM)]
    artifacts = tuple(
        Artifact(
            model=Model(
                f"tone-{name}", "1.2.0", sha256=digit * 64, licence="MIT", facts=(("target", name),)
            ),
            facts=FACTS,
            toolchains=(toolchain,),
            base=BASE,
            adapter=ADAPTER,
            data=mixed((TONE, HELD_OUT)),
            runs_on=(NUMPY,) if name == "cpu" else (NUMPY_OF_ARM,),
        )
        for name, digit, toolchain in zip(("cpu", "arm"), "de", toolchains, strict=True)
    )
    return Release("tone", "1.2.0", "0.1.0", mixed(artifacts), "Ann", TIME)
