"""Every fault of the catalogue is named by a check that reads the artifact's files alone.

``test_checks.py`` has one of each kind, and ``test_faults.py`` takes some through whole builds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.contract.plan import SourceInput, Step, StepInput
from pipeline.contract.result import Verdict
from tests.attack import artifact_faults
from tests.attack.artifact_faults import FAULTS
from tests.attack.planting import plant
from tests.support import plans

# Fault -> the verdict that names it: that of its part, or else another.
MEANT = {
    **dict.fromkeys(artifact_faults.SETTINGS, "same_settings"),
    **dict.fromkeys(artifact_faults.TOKENIZER, "same_tokenizer"),
    **dict.fromkeys(artifact_faults.WEIGHTS, "same_weights"),
    **dict.fromkeys(artifact_faults.GRAPH, "same_graph"),
    **dict.fromkeys(artifact_faults.FILES, "same_files"),
    **dict.fromkeys(
        ("broken_graph", "settings_are_no_json", "settings_in_utf16"), "graph_readable"
    ),
    **dict.fromkeys(("data_truncated", "offset_beyond", "outside", "overlap"), "same_weights"),
    **dict.fromkeys(("offset_twice", "prepacked"), "same_weights"),
    **dict.fromkeys(("moved", "trailing_bytes"), "external_data"),
    "earlier_template": "same_files",
}
pytestmark = pytest.mark.slow
BY_GRAPH = ("moved", "trailing_bytes")
Found = Mapping[str, tuple[Verdict, ...]]


def check(kind: str, artifact: str) -> Step:
    inputs: dict[str, StepInput | SourceInput] = {
        "artifact": plans.output_of(artifact),
        "model": plans.CHECKPOINT,
    }
    return plans.step(f"{kind}-{artifact}", "check", inputs, type=kind)


@pytest.fixture(scope="module")
def found(
    toolchain_python: Path, material: Path, tmp_path_factory: pytest.TempPathFactory
) -> Found:
    """Build one artifact, plant each fault into a copy of it, and return what was found in each."""
    work = tmp_path_factory.mktemp("faults") / "work"
    made = plans.step("model_builder", "pass", {"model": plans.CHECKPOINT})
    plans.must_run(toolchain_python, work, material, [made])
    plant(toolchain_python, work, "model_builder", *FAULTS)
    steps = [
        *(check("rebuild", name) for name in ("model_builder", *FAULTS)),
        *(check("graph", name) for name in BY_GRAPH),
    ]
    plans.must_run(toolchain_python, work, material, steps)
    results = (plans.result(work, step.name) for step in steps)
    return {result.name: result.verdicts for result in results}


def test_an_artifact_without_a_fault_is_what_the_builder_makes(found: Found) -> None:
    assert {
        verdict.name: verdict.status for verdict in found["rebuild-model_builder"]
    } == dict.fromkeys(
        ("same_graph", "same_weights", "same_settings", "same_tokenizer", "same_files"), "passed"
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named(found: Found, fault: str) -> None:
    check_type = "graph" if fault in BY_GRAPH else "rebuild"
    failed = {v.name: v.detail for v in found[f"{check_type}-{fault}"] if v.status == "failed"}
    assert failed.get(MEANT[fault]), failed
