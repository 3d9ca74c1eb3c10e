"""What the provenance says of the image that steps ran in."""

from __future__ import annotations

from pathlib import Path

from targets.build import BuildOutcome
from targets.planner.build_plan import BuildPlan
from targets.release.inputs import MADE, produced_inputs
from targets.release.statement import ResourceDescriptor
from tests.support.reports import make_report

BASE = f"mmdebstrap:bookworm@sha256:{'b' * 64}"


def inputs(image: str) -> dict[str, ResourceDescriptor]:
    report = make_report()
    used = report.toolchain.model_copy(update={"base_image": BASE, "image": image})
    plan = BuildPlan(build="tone", target="cpu", steps=(), mounts=(), artifact="model_builder")
    outcome = BuildOutcome(report.model_copy(update={"toolchain": used}), Path("dist"), plan, {})
    return {one.name: one for one in produced_inputs([outcome, outcome])}


def test_an_image_that_was_built_here_is_its_base_and_the_locks() -> None:
    assert set(inputs(f"quern/cpu:0123456789ab@sha256:{'1' * 64}")) == {"base-image/cpu"}


def test_an_image_of_a_registry_is_an_input_by_its_digest_there() -> None:
    tag = f"ghcr.io/org/quern:cpu-{'2' * 64}"
    found = inputs(f"{tag}@sha256:{'1' * 64}")
    assert set(found) == {"base-image/cpu", "image/cpu"}
    assert found["image/cpu"].uri == tag
    assert found["image/cpu"].digest == {"sha256": "1" * 64}
    assert found["image/cpu"].name.startswith(MADE)  # known only after the build
