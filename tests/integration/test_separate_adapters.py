"""An adapter beside the model: the same proofs hold for both together, and see what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.contract.events import StepFailed
from pipeline.contract.plan import SourceInput, Step, StepInput
from tests.support import plans
from tests.support.plans import CHECKPOINT, TONES, material_input, must_run, output_of, step
from tests.support.warm_process import warm_output

Inputs = Mapping[str, StepInput | SourceInput]

# Fault -> verdicts that must fail, by check.
FAULTS = {
    "swapped": {"adapted": "adapter_matrices"},
    "one_scale": {"adapted": "adapter_matrices", "rebuild": "same_weights"},
    "all_scales": {"adapted": "adapter_share"},
    "other_layer": {"adapted": "adapter_matrices"},
    "layer_gone": {"adapted": "adapter_matrices"},
    "strange_input": {"adapted": "adapter_file", "graph": "loads"},
    "truncated": {"adapted": "adapter_file", "graph": "loads"},
    "gone": {"adapted": "adapter_file"},
    "crossed": {"adapted": "adapter_matrices"},
}
SEEN_TOO = {"swapped": "same_weights", "gone": "same_files", "crossed": "same_graph"}
"""What the check that builds again says of some of them."""
SUPPORT = "tests.support.separate_adapters"
BOTH: Inputs = {"model": CHECKPOINT, "adapter": material_input("adapters/lora")}
LAYERS = {"layers": ["down_proj", "qkv_proj"]}


def separate(step_name: str, adapter: str, model: str, **params: object) -> Step:
    parts: Inputs = {
        "onnx": output_of(model),
        "model": CHECKPOINT,
        "adapter": material_input(f"adapters/{adapter}"),
    }
    return step(step_name, "pass", parts, params, type="separate_adapter")


def checks(artifact: str, kinds: Iterable[str], whole: bool = False) -> list[Step]:
    """Return checks of an artifact with the adapter ``lora``, as a plan has them; of the ``whole``
    reference, or of a few short texts."""
    size = "" if whole else "short_"
    roles: dict[str, StepInput | SourceInput] = {
        "artifact": output_of(artifact),
        "model": CHECKPOINT,
        "adapter": material_input("adapters/lora"),
        "reference": output_of("reference"),
        "float_reference": output_of("float_reference"),
        "merged_reference": output_of("reference"),
        "adapted_reference": output_of(f"{size}adapted_reference"),
    }
    needs = {
        "graph": ("artifact", "model"),
        "rebuild": ("artifact", "model", "adapter"),
        "adapted": ("artifact", "model", "adapter", "adapted_reference"),
        "conversion": ("artifact", "reference", "float_reference"),
        "quantization": ("artifact", "reference", "float_reference", "model"),
        "merging": ("merged_reference", "adapted_reference"),
    }
    return [
        step(
            f"{kind}-{artifact}",
            "check",
            {role: roles[role] for role in needs[kind]},
            type=kind,
        )
        for kind in kinds
    ]


@dataclass(frozen=True)
class Bench:
    """The work folder with artifacts, and copies with faults."""

    python: Path
    material: Path
    work: Path

    def verdicts(self, name: str) -> dict[str, str]:
        found = plans.result(self.work, name).verdicts
        return {verdict.name: verdict.status for verdict in found}

    def distance(self, checkpoint: Path, adapter: Path, built: str, name: str) -> float:
        """Return how far the logits of what is built are from PEFT's, with the adapter."""
        places = (checkpoint, adapter, self.work / built / "output")
        return float(warm_output(self.python, SUPPORT, "distance", *places, name))


@pytest.fixture(scope="module")
def bench(
    toolchain_python: Path, material: Path, tmp_path_factory: pytest.TempPathFactory
) -> Bench:
    places = (material / "checkpoint", material / "adapters")
    warm_output(toolchain_python, "tests.support.users_adapters", *places)
    bench = Bench(toolchain_python, material, tmp_path_factory.mktemp("separate") / "work")
    texts: Inputs = {"reference": output_of("short")}
    short = {"samples": 4, "long_tokens": 0}
    builds = [
        step("int4", "pass", {"model": CHECKPOINT}, type="model_builder"),
        separate("separate", "lora", "int4"),
        separate("second", "patterns", "int4", name="other", **LAYERS),
        separate("first", "lora", "int4", **LAYERS),
        step("merged", "pass", BOTH, {"dtype": "fp32"}, type="merge"),
        step("short", "pass", {"model": output_of("merged")}, short, TONES, type="reference"),
        step("short_adapted_reference", "pass", {**BOTH, **texts}, type="adapted_reference"),
        *checks("separate", ("graph", "rebuild", "adapted")),
    ]
    must_run(bench.python, bench.work, material, builds)
    step_folder = bench.work / "separate"
    warm_output(bench.python, SUPPORT, "faults", step_folder, *FAULTS, "second")
    spoiled = [one for name, caught in FAULTS.items() for one in checks(name, caught)]
    must_run(bench.python, bench.work, material, spoiled)
    return bench


def test_the_adapter_is_proven_beside_the_model(bench: Bench) -> None:
    for kind in ("graph", "rebuild", "adapted"):
        found = bench.verdicts(f"{kind}-separate")
        assert set(found.values()) == {"passed"}, (kind, found)
    metrics = plans.result(bench.work, "separate").metrics
    assert metrics["precision"] == "int4"  # inherited from the model
    assert isinstance(metrics["adapter"], dict)
    assert metrics["adapter"]["adapted"] == 4  # two layers, of which two matrices each


@pytest.mark.slow
def test_all_proofs_hold_for_base_and_adapter(bench: Bench) -> None:
    texts: Inputs = {"reference": output_of("reference")}
    kinds = ("adapted", "conversion", "quantization", "merging")
    steps = [
        step("reference", "pass", {"model": output_of("merged")}, data=TONES),
        step("adapted_reference", "pass", {**BOTH, **texts}),
        step("float_reference", "pass", {**BOTH, **texts}, data=TONES),
        separate("whole", "lora", "int4"),
        *checks("whole", kinds, whole=True),
        *(one for name in SEEN_TOO for one in checks(name, ["rebuild"])),
    ]
    must_run(bench.python, bench.work, bench.material, steps)
    for kind in kinds:
        found = bench.verdicts(f"{kind}-whole")
        assert set(found.values()) == {"passed"}, (kind, found)
    for name, verdict in SEEN_TOO.items():
        assert bench.verdicts(f"rebuild-{name}")[verdict] == "failed", name


@pytest.mark.slow
def test_peft_computes_the_same_as_the_runtime_with_the_adapter(bench: Bench) -> None:
    builds = [
        step("fp32", "pass", {"model": CHECKPOINT}, {"precision": "fp32"}, type="model_builder"),
        separate("exact", "lora", "fp32", name="tones"),
    ]
    must_run(bench.python, bench.work, bench.material, builds)
    parts = (bench.material / "checkpoint", bench.material / "adapters" / "lora")
    assert bench.distance(*parts, "exact", "tones") < 1e-4


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_adapter_is_seen(bench: Bench, fault: str) -> None:
    for kind, verdict in FAULTS[fault].items():
        found = bench.verdicts(f"{kind}-{fault}")
        assert found[verdict] == "failed", (kind, found)


def test_parts_of_a_joined_matrix_are_changed_each_by_itself(bench: Bench) -> None:
    material = bench.material
    warm_output(bench.python, SUPPORT, "llama", material / "checkpoint", material)
    model: Inputs = {"model": material_input("llama")}
    parts: Inputs = {**model, "onnx": output_of("llama"), "adapter": material_input("apart")}
    builds = [
        step("llama", "pass", model, {"precision": "fp32"}, type="model_builder"),
        step("apart", "pass", parts, type="separate_adapter"),
    ]
    must_run(bench.python, bench.work, material, builds)
    counts = plans.result(bench.work, "apart").metrics["adapter"]
    assert isinstance(counts, dict)
    assert (counts["adaptable"], counts["adapted"]) == (6, 4)  # keys take an adapter too
    assert bench.distance(material / "llama", material / "apart", "apart", "adapter") < 1e-4


def test_two_adapters_share_the_bytes_of_one_model(bench: Bench) -> None:
    first, second = (bench.work / name / "output" for name in ("first", "second"))
    names = {path.name for path in first.iterdir()} - {"adapter.onnx_adapter"}
    assert names | {"other.onnx_adapter"} == {path.name for path in second.iterdir()}
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    base = bench.work / "int4" / "output" / "model.onnx.data"
    assert (first / base.name).read_bytes() == base.read_bytes()


@pytest.mark.parametrize("kind", ["dora", "whole", "loha"])
def test_an_adapter_that_can_only_be_merged_is_refused(bench: Bench, kind: str) -> None:
    code, events, _ = plans.run(
        bench.python, bench.work, bench.material, [separate(f"no-{kind}", kind, "int4")]
    )
    (failed,) = (event for event in events if isinstance(event, StepFailed))
    assert (code, failed.cause) == (1, "bad_input")
    assert "cannot be kept separate" in failed.message


def test_the_runtime_is_quiet_about_optional_inputs(bench: Bench) -> None:
    config = json.loads((bench.work / "separate/output/genai_config.json").read_text())
    assert config["model"]["decoder"]["session_options"]["log_severity_level"] == 3
