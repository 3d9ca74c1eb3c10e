"""QLoRA all the way: trained over NF4 weights, merged without loss, built into an artifact."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.contract.events import StepFailed
from pipeline.contract.plan import SourceInput, StepInput
from tests.support import plans
from tests.support.distances import OTHER, SAME, measure_distances
from tests.support.warm_process import warm_code


@dataclass(frozen=True)
class Trained:
    """A work folder with an adapter, two merges of it and an artifact."""

    python: Path
    material: Path
    work: Path


@pytest.fixture(scope="module")
def trained(
    toolchain_python: Path, material: Path, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    """Train, merge both ways, build and check."""
    work = tmp_path_factory.mktemp("qlora") / "work"
    base = {"model": plans.CHECKPOINT}
    both = _base_and_adapter()
    built = {"model": plans.output_of("merge")}
    training = {"max_steps": 20, "batch_size": 8, "dropout": 0.0, "r": 16, "alpha": 32}
    plans.must_run(
        toolchain_python,
        work,
        material,
        [
            plans.step("qlora", "pass", base, training, plans.TONES),
            plans.step("merge", "pass", both),
            plans.step("merge-original", "pass", both, {"into": "original"}, type="merge"),
            plans.step("qlora-part", "pass", base, {**training, **PART}, plans.TONES, "qlora"),
            plans.step("merge-part", "pass", _base_and_adapter("qlora-part"), type="merge"),
            plans.step("evaluate-base", "pass", base, data=plans.TONES, type="evaluate"),
            plans.step("evaluate", "pass", built, data=plans.TONES),
            plans.step("model_builder", "pass", built),
            plans.step("graph", "check", {"artifact": plans.output_of("model_builder"), **built}),
            plans.step(
                "quality",
                "check",
                {
                    "artifact": plans.output_of("model_builder"),
                    "base_answers": plans.output_of("evaluate-base"),
                    "tuned_answers": plans.output_of("evaluate"),
                },
                data=plans.TONES,
            ),
        ],
    )
    return Trained(toolchain_python, material, work)


def test_the_merged_model_answers_as_the_unmerged_one(trained: Trained) -> None:
    """And one that was merged into the original base does not."""
    merged, other = (trained.work / name / "output" for name in ("merge", "merge-original"))
    adapter = trained.work / "qlora" / "output"
    far = measure_distances(trained.python, trained.material, adapter, "nf4", merged, other)
    assert far[merged] <= SAME
    assert far[other] > OTHER


def test_the_result_says_what_was_merged_into(trained: Trained) -> None:
    default = plans.result(trained.work, "merge").metrics
    assert default["into"] == "dequantized"
    assert default["dequantized_layers"] == 8
    assert plans.result(trained.work, "merge-original").metrics["into"] == "original"


@pytest.mark.parametrize("check", ["graph", "quality"])
def test_the_artifact_passes_its_checks(trained: Trained, check: str) -> None:
    verdicts = plans.result(trained.work, check).verdicts
    assert verdicts
    assert all(verdict.status == "passed" for verdict in verdicts), verdicts


def test_merging_in_place_into_4_bit_weights_is_refused(trained: Trained) -> None:
    step = plans.step(
        "merge-in-place", "pass", _base_and_adapter(), {"into": "quantized"}, type="merge"
    )
    code, events, _ = plans.run(trained.python, trained.work, trained.material, [step])
    failed = [event for event in events if isinstance(event, StepFailed)]
    assert code == 1
    assert failed[0].cause == "bad_input"
    assert "dequantized" in failed[0].message
    assert not (trained.work / "merge-in-place").exists()


def test_what_training_skipped_is_merged_as_it_was_trained(trained: Trained) -> None:
    """transformers takes a name as the beginning of a path too, PEFT and the merge do not."""
    folders = [
        trained.material / "checkpoint",
        trained.work / "qlora-part" / "output",
        trained.work / "merge-part" / "output",
    ]
    quantized, distance = warm_code(trained.python, SKIPPED, *folders).split()
    assert int(quantized) == 4
    assert plans.result(trained.work, "merge-part").metrics["dequantized_layers"] == 4
    assert float(distance) <= SAME


def _base_and_adapter(adapter: str = "qlora") -> dict[str, StepInput | SourceInput]:
    return {"model": plans.CHECKPOINT, "adapter": plans.output_of(adapter)}


PART = {"skip_modules": ["model.layers.0", "lm_head"]}
# Written without anything of Quern: what transformers quantizes, and what it answers.
SKIPPED = """
import sys
import torch
from bitsandbytes.nn import Linear4bit
from peft import PeftModel
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

base, adapter, merged = sys.argv[1:]
config = BitsAndBytesConfig(
    load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=torch.float32, llm_int8_skip_modules=["model.layers.0", "lm_head"],
)
model = AutoModelForCausalLM.from_pretrained(
    base, dtype=torch.float32, quantization_config=config, device_map={"": "cpu"}
)
layers = [module for module in model.modules() if isinstance(module, Linear4bit)]
for layer in layers:
    layer.support_avx512bf16_for_cpu = False
unmerged = PeftModel.from_pretrained(model, adapter)
ids = torch.arange(3, 60).reshape(3, 19)
with torch.no_grad():
    right = unmerged(input_ids=ids).logits
    ours = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32)(input_ids=ids).logits
print(len(layers), float((ours - right).norm() / right.norm()))
"""


LOADED = """
import sys, threading
from pathlib import Path
import torch
from bitsandbytes.functional import quantize_4bit
from transformers import AutoModelForCausalLM, Phi3Config
from pipeline.training.loading import load_model
from pipeline.training.four_bit_params import QloraParams

folder = Path(sys.argv[1])
config = Phi3Config(
    vocab_size=64, hidden_size=512, intermediate_size=1408, num_hidden_layers=16,
    num_attention_heads=8, num_key_value_heads=8, pad_token_id=0, eos_token_id=0,
)
made = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
made.save_pretrained(folder, max_shard_size="40MB")
whole = 4 * made.num_parameters()
del made
quantize_4bit(torch.ones(64, 64))  # whatever is only made when it is first used
done, peak = threading.Event(), 0

def used():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))

def watch():
    global peak
    while not done.wait(0.001):
        peak = max(peak, used())

start = used()
watcher = threading.Thread(target=watch)
watcher.start()
params = QloraParams()
quantization = params.base_quantization("float32")
model = load_model(folder, params, torch.float32, quantization.config(torch.float32))
done.set()
watcher.join()
share = (peak - start) / whole
before = used()
plain = load_model(folder, params, torch.float32)
print("peak", share, "whole", (used() - before) / whole)
for name, module in plain.named_modules():
    if not isinstance(module, torch.nn.Linear) or name == "lm_head":
        continue
    packed, state = quantize_4bit(module.weight.data, compress_statistics=True, quant_type="nf4")
    own = model.get_submodule(name).weight
    assert torch.equal(own.data, packed), name
    assert torch.equal(own.quant_state.absmax, state.absmax), name
    assert torch.equal(own.quant_state.offset, state.offset), name
print("same")
"""


def test_the_base_is_quantized_weight_by_weight(toolchain_python: Path, tmp_path: Path) -> None:
    """In a part of the memory that its weights take in fp32, and to the bits that these give."""
    command = [str(toolchain_python), "-c", LOADED, str(tmp_path)]
    # Memory that is free again goes back at once, so that what is used is what is needed.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(
        command, cwd=plans.ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    figures, same = done.stdout.splitlines()[-2:]
    _, peak, _, whole = figures.split()
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert float(peak) < 0.5
    assert float(whole) > 0.9, "weights that are in memory would not be seen"
    assert same == "same"
