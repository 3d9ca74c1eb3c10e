"""An adapter beside the model: the same proofs hold for both together, and see what is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
    "swapped": {"adapted": "adapter_matrices", "rebuild": "same_weights"},
    "one_scale": {"adapted": "adapter_matrices", "rebuild": "same_weights"},
    "all_scales": {"adapted": "adapter_share"},
    "other_layer": {"adapted": "adapter_matrices"},
    "layer_gone": {"adapted": "adapter_matrices"},
    "strange_input": {"adapted": "adapter_file", "graph": "loads"},
    "truncated": {"adapted": "adapter_file", "graph": "loads"},
    "gone": {"adapted": "adapter_file", "rebuild": "same_files"},
    "crossed": {"adapted": "adapter_matrices", "rebuild": "same_graph"},
}
LAYERS = {"layers": ["down_proj", "qkv_proj"]}


def separate(step_name: str, adapter: str, model: str, **params: object) -> Step:
    parts: Inputs = {
        "onnx": output_of(model),
        "model": CHECKPOINT,
        "adapter": material_input(f"adapters/{adapter}"),
    }
    return step(step_name, "pass", parts, params, type="separate_adapter")


def checks(artifact: str, kinds: Sequence[str]) -> list[Step]:
    """Return checks of an artifact with the adapter ``lora``, as a plan has them."""
    roles: dict[str, StepInput | SourceInput] = {
        "artifact": output_of(artifact),
        "model": CHECKPOINT,
        "adapter": material_input("adapters/lora"),
        "reference": output_of("reference"),
        "float_reference": output_of("float_reference"),
        "merged_reference": output_of("reference"),
        "adapted_reference": output_of("adapted_reference"),
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


@pytest.fixture(scope="module")
def bench(
    toolchain_python: Path, material: Path, tmp_path_factory: pytest.TempPathFactory
) -> Bench:
    places = (material / "checkpoint", material / "adapters")
    warm_output(toolchain_python, "tests.support.users_adapters", *places)
    bench = Bench(toolchain_python, material, tmp_path_factory.mktemp("separate") / "work")
    both: Inputs = {"model": CHECKPOINT, "adapter": material_input("adapters/lora")}
    texts: Inputs = {"reference": output_of("reference")}
    builds = [
        step("int4", "pass", {"model": CHECKPOINT}, type="model_builder"),
        step("fp32", "pass", {"model": CHECKPOINT}, {"precision": "fp32"}, type="model_builder"),
        separate("separate", "lora", "int4"),
        separate("exact", "lora", "fp32", name="tones"),
        separate("second", "patterns", "int4", name="other", **LAYERS),
        separate("first", "lora", "int4", **LAYERS),
        step("merged", "pass", both, {"dtype": "fp32"}, type="merge"),
        step("reference", "pass", {"model": output_of("merged")}, data=TONES),
        step("adapted_reference", "pass", {**both, **texts}),
        step("float_reference", "pass", {**both, **texts}, data=TONES),
        *checks(
            "separate", ("graph", "rebuild", "adapted", "conversion", "quantization", "merging")
        ),
    ]
    must_run(bench.python, bench.work, material, builds)
    step_folder = bench.work / "separate"
    module = "tests.support.separate_adapters"
    warm_output(bench.python, module, "faults", step_folder, *FAULTS, "second")
    spoiled = [one for name, caught in FAULTS.items() for one in checks(name, list(caught))]
    must_run(bench.python, bench.work, material, spoiled)
    return bench


def test_the_proofs_hold_for_base_and_adapter(bench: Bench) -> None:
    for kind in ("graph", "rebuild", "adapted", "conversion", "quantization", "merging"):
        found = bench.verdicts(f"{kind}-separate")
        assert set(found.values()) == {"passed"}, (kind, found)
    metrics = plans.result(bench.work, "separate").metrics
    assert metrics["precision"] == "int4"  # inherited from the model
    assert isinstance(metrics["adapter"], dict)
    assert metrics["adapter"]["adapted"] == 4  # two layers, of which two matrices each


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_adapter_is_seen(bench: Bench, fault: str) -> None:
    for kind, verdict in FAULTS[fault].items():
        found = bench.verdicts(f"{kind}-{fault}")
        assert found[verdict] == "failed", (kind, found)


def test_peft_computes_the_same_as_the_runtime_with_the_adapter(bench: Bench) -> None:
    material = bench.material
    places = (material / "checkpoint", material / "adapters" / "lora", bench.work / "exact/output")
    module = "tests.support.separate_adapters"
    said = warm_output(bench.python, module, "distance", *places, "tones")
    assert float(said) < 1e-4


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
