"""Artifacts for devices that are not here: what the CPU provider and the kernel tables prove."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.plan import Step, StepInput
from pipeline.contract.result import Verdict
from tests.attack.planting import plant
from tests.support import plans

ABSENT = "there is no such device in this test"
PROVIDERS = ("cpu", "cuda", "dml")
OTHERS = ("cuda", "dml")
COMPARED = ("conversion", "quantization")


@pytest.fixture(scope="module")
def work(toolchain_python: Path, material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build one checkpoint for every provider and run the checks as if no device were here."""
    work = tmp_path_factory.mktemp("providers") / "work"
    model = {"model": plans.CHECKPOINT}
    builds = [
        plans.step("reference", "pass", model, data=plans.TONES),
        plans.step("evaluate", "pass", model, data=plans.TONES),
        *(exported(name) for name in PROVIDERS),
        *(
            plans.step(name, "pass", model, {"execution_provider": name}, type="model_builder")
            for name in PROVIDERS
        ),
        plans.step(
            "options",
            "pass",
            model,
            {"execution_provider": "cuda", "cuda_graph": True, "bf16_io": True},
            type="model_builder",
        ),
    ]
    plans.must_run(toolchain_python, work, material, builds)
    for fault, name in (("no_kernel", "dml"), ("scrambled", "cuda")):
        plant(toolchain_python, work, name, fault)
    quick: dict[str, Any] = {"lengths": [], "rounds": 3}
    limits = {"first_token_ms": 1000.0, "token_ms": 100.0, **quick}
    checks = [
        check
        for name in PROVIDERS
        for check in (
            judged("provider", name),
            judged("conversion", name),
            judged("quantization", name),
            judged("generation", name, data=plans.TONES),
            judged("quality", name, params={"min_accuracy": 0.9}, data=plans.TONES),
            judged("latency", name, params=limits, data=plans.TONES),
        )
    ]
    checks += [
        judged("provider", "no_kernel"),
        judged("provider", "options"),
        judged("conversion", "options"),
        judged("quantization", "options"),
        judged("generation", "options", data=plans.TONES),
        judged("quantization", "scrambled"),
        judged("conversion", "scrambled"),
        # The toolchain has no CUDA: where the plan says that the device is here, that is a failure.
        judged("provider", "cuda", absent="", name="pretended"),
    ]
    plans.must_run(toolchain_python, work, material, checks)
    return work


def exported(provider: str) -> Step:
    """Return the pass that asks a float export of the checkpoint for a provider."""
    inputs: dict[str, Any] = {"model": plans.CHECKPOINT, "reference": plans.output_of("reference")}
    precision = "fp32" if provider == "cpu" else "fp16"
    params = {"execution_provider": provider, "precision": precision}
    name = f"float-{provider}"
    return plans.step(name, "pass", inputs, params, plans.TONES, type="float_reference")


def judged(
    kind: str,
    artifact: str,
    params: dict[str, Any] | None = None,
    data: Any = None,
    absent: str | None = None,
    name: str | None = None,
) -> Step:
    """Return the check ``kind`` of ``artifact``."""
    inputs: dict[str, Any] = {"artifact": plans.output_of(artifact)}
    if kind in COMPARED:
        inputs["reference"] = plans.output_of("reference")
        if artifact in PROVIDERS:
            inputs["float_reference"] = plans.output_of(f"float-{artifact}")
    if kind == "quantization":
        inputs["model"] = plans.CHECKPOINT
    if kind == "quality":
        answers: StepInput = plans.output_of("evaluate")
        inputs |= {"base_answers": answers, "tuned_answers": answers}
    if absent is None:
        absent = "" if artifact == "cpu" else ABSENT
    step = plans.step(name or f"{kind}-{artifact}", "check", inputs, params, data, type=kind)
    return step.model_copy(update={"absent_device": absent})


def verdicts(work: Path, name: str) -> dict[str, Verdict]:
    return {verdict.name: verdict for verdict in plans.result(work, name).verdicts}


@pytest.mark.parametrize("name", PROVIDERS)
@pytest.mark.parametrize("kind", ["conversion", "quantization", "generation", "quality"])
def test_what_needs_no_device_is_proven(work: Path, kind: str, name: str) -> None:
    found = verdicts(work, f"{kind}-{name}")
    found.pop("generates_on_provider", None)
    assert found
    if name != "cpu" and kind not in COMPARED:
        assert all("through the CPU provider" in verdict.detail for verdict in found.values())
    assert all(verdict.status == "passed" for verdict in found.values()), found


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_node_has_a_kernel(work: Path, name: str) -> None:
    coverage = verdicts(work, f"provider-{name}")["nodes_without_kernel"]
    assert (coverage.status, coverage.value) == ("passed", 0)
    assert f"have a {name} kernel" in coverage.detail


def test_the_provider_is_seen_to_run_where_it_is(work: Path) -> None:
    ran = verdicts(work, "provider-cpu")["nodes_off_provider"]
    assert ran.status == "passed"
    evidence: Any = plans.result(work, "provider-cpu").evidence["provider"]
    assert evidence["nodes"].keys() == {"CPUExecutionProvider"}
    assert evidence["nodes"]["CPUExecutionProvider"] > 10


@pytest.mark.parametrize("name", OTHERS)
def test_what_needs_the_device_is_unverified_with_the_reason(work: Path, name: str) -> None:
    found = verdicts(work, f"latency-{name}") | verdicts(work, f"provider-{name}")
    del found["nodes_without_kernel"]
    found["generates_on_provider"] = verdicts(work, f"generation-{name}")["generates_on_provider"]
    assert found.keys() == {
        *("first_token_ms", "token_ms", "nodes_off_provider", "generates_on_provider"),
    }
    assert {(item.status, item.detail) for item in found.values()} == {("unverified", ABSENT)}


def test_a_node_without_a_kernel_is_found(work: Path) -> None:
    coverage = verdicts(work, "provider-no_kernel")["nodes_without_kernel"]
    # Failed by a table as new as the runtime, unverified by an older one; never passed.
    assert coverage.status != "passed"
    assert "Erf" in coverage.detail


def test_scrambled_weights_are_caught(work: Path) -> None:
    failed = plans.failed_verdicts(work, "quantization-scrambled")
    assert {"mean_kl", "top1_agreement", "layer_scales"} <= failed.keys()
    assert "lm_head" in failed["layer_scales"].detail
    assert "layer 0" not in failed["layer_scales"].detail


def test_without_a_float_export_the_artifact_is_held_against_the_merged_model(work: Path) -> None:
    failed = plans.failed_verdicts(work, "conversion-scrambled")
    assert "conversion and quantization together" in failed["logits_error"].detail


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_float_export_is_asked_and_not_kept(work: Path, provider: str) -> None:
    output = work / f"float-{provider}" / "output"
    assert {path.name for path in output.iterdir()} == {"logits.npz", "answers.json"}
    metrics = plans.result(work, f"float-{provider}").metrics
    assert (metrics["rows"], metrics["answers"]) == (8, 7)


def test_a_provider_that_cannot_run_fails_where_its_device_is_said_to_be(work: Path) -> None:
    assert verdicts(work, "pretended").keys() & plans.failed_verdicts(work, "pretended").keys()


def test_cuda_options_reach_the_artifact(work: Path) -> None:
    import json

    config = json.loads((work / "options" / "output" / "genai_config.json").read_text())
    (provider,) = config["model"]["decoder"]["session_options"]["provider_options"]
    assert provider["cuda"]["enable_cuda_graph"] == "1"
    coverage = verdicts(work, "provider-options")["nodes_without_kernel"]
    assert coverage.status == "passed", coverage


def test_a_graph_that_only_its_device_can_run_is_unverified(work: Path) -> None:
    asked = {"conversion": "logits_error", "quantization": "mean_kl", "generation": "usable"}
    for check, name in asked.items():
        found = verdicts(work, f"{check}-options")
        assert found[name].status == "unverified"
        assert "the CPU provider cannot run this graph" in found[name].detail
    # What lies in the file needs no device.
    assert verdicts(work, "quantization-options")["layer_scales"].status == "passed"
    assert verdicts(work, "conversion-options")["rotary_table"].status == "passed"
