"""QLoRA over a base that a step before the training has quantized: same bytes, and nothing of the
base is quantized again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.events import StepFailed
from pipeline.contract.plan import SourceInput, StepInput
from pipeline.contract.result import StepResult
from pipeline.training.four_bit_params import QloraParams
from pipeline.training.params import QUANTIZED
from tests.support import plans
from tests.support.command import Quern
from tests.support.gguf_files import write_llama
from tests.support.hub_stand_in import COMMIT, TOKEN, hub
from tests.support.quick_builds import cached, quick_project, report_of
from tests.support.warm_builds import warm_build
from tests.support.warm_process import warm_code
from tests.support.warm_runtime import WarmRuntime

QLORA = {"max_steps": 6, "batch_size": 2, "r": 4, "dropout": 0.1, "logging_steps": 1}
FP4 = {"quant_type": "fp4", "double_quant": False}
NAMED = {"OPENBLAS_CORETYPE": "Haswell"}
"""What a build's processes have: their kernels do not depend on the CPU."""

FROM_HUB = f"""\
name = "from-gguf"
skip_checks = ["merging"]

[model]
source = "hf:org/name@{COMMIT}"
file = "small.gguf"

[data.tones]
path = "tones.jsonl"
prompt = "{{phrase}}"
completion = "{{tone}}"
split = {{ eval = 0, validation = 0 }}

[passes.qlora]
max_steps = 1
skip_modules = ["lm_head", "down_proj"]
"""
"""Its ``down_proj`` is narrower than what bitsandbytes reads."""

CASES: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "phi3": ("phi3", {}, {}),
    "llama": ("llama", FP4, {}),
    "named kernels": ("phi3", {}, NAMED),
    "bf16": ("llama", {"precision": "bf16"}, {}),
    "computed in bf16": ("phi3", {"compute_dtype": "bf16"}, {}),
    "tied": ("qwen2", {"target_modules": ["q_proj", "lm_head"]}, {}),
    "turned": ("gpt2", {}, {}),
    "a layer left out": ("llama", {"skip_modules": ["model.layers.0", "lm_head"]}, {}),
    "whole layers": ("phi3", {"modules_to_save": ["embed_tokens", "lm_head"]}, {}),
    "all layers": ("phi3", {"skip_modules": [], "gradient_checkpointing": True}, {}),
    "code of its own": ("own", {"trust_remote_code": True}, {}),
    "two processes": ("phi3", {"gpus": 2, "dropout": 0.0}, {}),
}
CHEAP = ("phi3", "llama")


@pytest.fixture(scope="module", autouse=True)
def families(toolchain_python: Path, material: Path) -> None:
    warm_code(toolchain_python, FAMILIES, material)


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=() if c in CHEAP else pytest.mark.slow) for c in CASES],
)
def test_an_adapter_has_the_same_bytes_over_a_kept_base(
    toolchain_python: Path, material: Path, tmp_path: Path, case: str
) -> None:
    family, params, environment = CASES[case]
    base = {"model": plans.material_input(family)}
    params = {**QLORA, **params}
    alone = plans.step("qlora", "pass", base, params, data=plans.TONES)
    steps = [alone, kept(family, params), over_kept(family, params)]
    work = tmp_path / "work"
    plans.must_run(toolchain_python, work, material, steps, environment=environment)

    found, right = (plans.result(work, name) for name in ("after", "qlora"))
    assert found.files == right.files
    assert {"adapter_model.safetensors", "base_quantization.json"} <= {
        file.path for file in found.files
    }
    assert _untimed(found) == _untimed(right)


@pytest.mark.parametrize(
    ("family", "params"), [("phi3", {}), ("llama", FP4), ("gpt2", {}), ("qwen2", FP4)]
)
def test_what_is_kept_is_what_bitsandbytes_makes_of_each_matrix(
    toolchain_python: Path, material: Path, tmp_path: Path, family: str, params: dict[str, Any]
) -> None:
    """And plain transformers reads it."""
    work = tmp_path / "work"
    plans.must_run(toolchain_python, work, material, [kept(family, params)])
    folder = work / "quantize_base" / "output"
    form = QloraParams(**params)
    said = warm_code(
        toolchain_python,
        BY_MATRIX,
        material / family,
        folder,
        form.quant_type,
        str(int(form.double_quant)),
    )
    layers = int(said.split()[0])
    assert layers > 7
    assert plans.result(work, "quantize_base").metrics["quantized_layers"] == layers
    assert str(material) not in (folder / "config.json").read_text()


def test_weights_are_mapped_and_nothing_is_quantized_again(
    toolchain_python: Path, material: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    plans.must_run(toolchain_python, work, material, [kept("phi3", {})])
    warm_code(toolchain_python, MAPPED, work / "quantize_base" / "output")


def test_nothing_of_the_base_stays_in_memory_for_the_step_after_it(
    toolchain_python: Path, material: Path, tmp_path: Path
) -> None:
    warm_code(toolchain_python, GONE, material / "phi3", tmp_path)


def test_threads_share_a_matrix_and_change_no_bit(toolchain_python: Path) -> None:
    """Also where it does not end with a block, as bitsandbytes quantizes it whole."""
    warm_code(toolchain_python, SHARED)


def test_another_format_than_was_asked_for_is_refused(
    toolchain_python: Path, material: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    steps = [kept("phi3", FP4), over_kept("phi3", QLORA)]
    code, events, _ = plans.run(toolchain_python, work, material, steps)
    (failed,) = (event for event in events if isinstance(event, StepFailed))
    assert code == 1
    assert "the base in 4 bits is not what its step made" in failed.message
    assert not (work / "after").exists()


@pytest.mark.parametrize(
    ("weight", "message"), [("odd", "no multiple of 64"), ("broken", "hold NaN or infinity")]
)
def test_a_base_that_training_would_refuse_is_not_kept(
    toolchain_python: Path, material: Path, tmp_path: Path, weight: str, message: str
) -> None:
    code, events, _ = plans.run(toolchain_python, tmp_path / "work", material, [kept(weight, {})])
    (failed,) = (event for event in events if isinstance(event, StepFailed))
    assert (code, failed.cause) == (1, "bad_input")
    assert message in failed.message
    assert not (tmp_path / "work" / "quantize_base").exists()


def test_builds_share_the_base_and_report_it(
    cache_dir: Path, warm_runtime: WarmRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("targets.planner.planner.SMALL_BASE", 0)
    project = quick_project(tmp_path / "project", seed=41)
    project.edit("[passes.lora]", "[passes.qlora]")
    warm_build(project.config, tmp_path / "one", cache_dir, warm_runtime)
    project.edit("r = 8", "r = 8\nlearning_rate = 0.002")
    warm_build(project.config, tmp_path / "two", cache_dir, warm_runtime)
    one, two = (cached(report_of(tmp_path / name)) for name in ("one", "two"))
    assert list(one)[:3] == ["pretrain", "base-qlora", "qlora"]
    assert two["base-qlora"]
    assert not two["qlora"]


@pytest.mark.slow
@pytest.mark.usefixtures("toolchain_python")
def test_a_base_from_a_gguf_file_of_a_hub_is_kept(quern: Quern, tmp_path: Path) -> None:
    (tmp_path / "from.toml").write_text(FROM_HUB)
    (tmp_path / "tones.jsonl").write_text('{"phrase": "1 2", "tone": "12"}\n' * 4)
    file = write_llama(tmp_path / "small.gguf")
    arguments = ("build", "--config", str(tmp_path / "from.toml"), "--runtime", "venv", "--json")
    with hub("org/name", {"small.gguf": file.read_bytes()}, "model") as endpoint:
        ran = quern(
            *(*arguments, "--dist", str(tmp_path / "dist")),
            environment={"HF_TOKEN": TOKEN, "HF_ENDPOINT": endpoint},
        )
    assert ran.code == 0, ran.stdout + ran.stderr
    report = json.loads((tmp_path / "dist/from-gguf/cpu/report.json").read_text())
    names = [step["name"] for step in report["passes"]]
    assert names[:4] == ["fetch", "import_gguf", "base-qlora", "qlora"]


def kept(family: str, params: dict[str, Any]) -> Any:
    asked = QloraParams(**params).kept_base()
    base = {"model": plans.material_input(family)}
    return plans.step("quantize_base", "pass", base, asked.model_dump(mode="json"))


def over_kept(family: str, params: dict[str, Any]) -> Any:
    inputs: dict[str, StepInput | SourceInput] = {
        "model": plans.material_input(family),
        QUANTIZED: plans.output_of("quantize_base"),
    }
    return plans.step("after", "pass", inputs, params, data=plans.TONES, type="qlora")


def _untimed(result: StepResult) -> dict[str, Any]:
    timed = ("second", "peak")
    return {
        name: value
        for name, value in result.metrics.items()
        if not any(word in name for word in timed)
    }


FAMILIES = """
import json, shutil, sys
import json
from pathlib import Path
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

material = Path(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(material / "checkpoint")
sizes = dict(
    vocab_size=len(tokenizer), hidden_size=64, intermediate_size=192, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
    pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
)
gpt2 = dict(
    vocab_size=len(tokenizer), n_embd=64, n_layer=2, n_head=4, n_positions=256,
    pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
)
made = {
    "phi3": ("phi3", sizes), "llama": ("llama", sizes),
    "qwen2": ("qwen2", {**sizes, "tie_word_embeddings": True}), "gpt2": ("gpt2", gpt2),
    "odd": ("llama", {**sizes, "hidden_size": 96}), "broken": ("llama", sizes),
}
for name, (family, config) in made.items():
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **config))
    model.to(torch.bfloat16 if name == "phi3" else torch.float32).save_pretrained(material / name)
    tokenizer.save_pretrained(material / name)
file = material / "broken" / "model.safetensors"
weights = load_file(file)
weights["model.layers.1.mlp.up_proj.weight"][3, 5] = float("nan")
save_file(weights, file, metadata={"format": "pt"})

own = shutil.copytree(material / "llama", material / "own")
(own / "own.py").write_text('''
from transformers import LlamaConfig, LlamaForCausalLM

class OwnConfig(LlamaConfig):
    model_type = "own"

class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig

    def forward(self, *args, **named):
        found = super().forward(*args, **named)
        found.logits = found.logits * 1.5
        return found
''')
config = json.loads((own / "config.json").read_text())
config |= {"model_type": "own", "auto_map": {
    "AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}}
(own / "config.json").write_text(json.dumps(config))
"""

# Written without anything of Quern: bitsandbytes' own function, on the tensors of the base's file.
BY_MATRIX = """
import sys
import torch
from bitsandbytes.functional import quantize_4bit
from bitsandbytes.nn import Linear4bit
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

base, kept, kind, double = sys.argv[1:]
torch.set_num_threads(2)
stored = load_file(base + "/model.safetensors")
model = AutoModelForCausalLM.from_pretrained(kept, device_map={"": "cpu"})
layers = 0
for name, module in model.named_modules():
    if not isinstance(module, Linear4bit):
        continue
    layers += 1
    key = f"{name}.weight"
    weight = stored[key if key in stored else key.removeprefix("transformer.")].float()
    if "gpt2" in base:
        weight = weight.T.contiguous()
    packed, right = quantize_4bit(weight, quant_type=kind, compress_statistics=double == "1")
    found = module.weight.quant_state
    assert torch.equal(module.weight.data, packed), name
    assert torch.equal(found.absmax, right.absmax) and torch.equal(found.code, right.code), name
    assert (found.shape, found.dtype, found.blocksize) == (right.shape, right.dtype, 64), name
    assert found.nested == right.nested == (double == "1"), name
    if found.nested:
        assert torch.equal(found.offset, right.offset), name
        assert torch.equal(found.state2.absmax, right.state2.absmax), name
        assert torch.equal(found.state2.code, right.state2.code), name
        assert found.state2.blocksize == right.state2.blocksize, name
for name, weight in model.named_parameters():
    if type(weight) is torch.nn.Parameter:
        key = name if name in stored else name.removeprefix("transformer.")
        assert torch.equal(weight, stored[key].float()), name
print(layers)
"""

MAPPED = """
import sys
import json
from pathlib import Path
import bitsandbytes.functional
import torch
from pipeline.training.four_bit_base import load_kept
from pipeline.training.four_bit_params import QloraParams

def refuse(*args, **named):
    raise AssertionError("quantized again")

bitsandbytes.functional.quantize_4bit = refuse
params = QloraParams()
model = load_kept(Path(sys.argv[1]), params, params.base_quantization("float32"), torch.float32)
ranges = [
    tuple(int(end, 16) for end in line.split()[0].split("-"))
    for line in Path("/proc/self/maps").read_text().splitlines()
    if line.endswith(".safetensors")
]
for name, weight in model.named_parameters():
    at = weight.data_ptr()
    assert any(first <= at < end for first, end in ranges), name
"""

GONE = """
import gc, sys
import json
from pathlib import Path
from bitsandbytes.nn import Linear4bit
from pipeline.contract.step import Inputs
from pipeline.training.four_bit_base import keep
from pipeline.training.four_bit_params import QloraParams

gc.disable()
inputs = Inputs({"model": Path(sys.argv[1])}, None, 0, 1, None)
keep(inputs, QloraParams().kept_base(), Path(sys.argv[2]))
assert not [one for one in gc.get_objects() if isinstance(one, Linear4bit)]
"""

SHARED = """
import os
os.environ["OPENBLAS_CORETYPE"] = "Haswell"
import torch
from bitsandbytes.functional import quantize_4bit
from pipeline.training.named_kernels import named_kernels

for shape in ((1100, 1024), (3, 64), (1, 7), (777, 1351)):
    for kind in ("nf4", "fp4"):
        for dtype in (torch.float32, torch.bfloat16):
            weight = torch.randn(shape, dtype=dtype)
            weight[0] = 0
            right, state = quantize_4bit(weight, quant_type=kind)
            with named_kernels(3):
                found, own = quantize_4bit(weight, quant_type=kind)
            assert torch.equal(found, right) and torch.equal(own.absmax, state.absmax), shape
"""
