"""A fine-tune of all weights: its step is plain PyTorch's, and its model is built and proven."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.data_spec import Split
from pipeline.contract.plan import SourceInput, StepInput
from tests.support import plans
from tests.support.warm_process import warm_code

Inputs = dict[str, StepInput | SourceInput]
BASE: Inputs = {"model": plans.CHECKPOINT}
# Raw text of which all is learnt: simple enough to be written down again below.
RAW = plans.TONES.model_copy(
    update={
        "spec": plans.TONES.spec.model_copy(
            update={"chat": False, "loss_on": "all", "split": Split(eval=0, validation=0)}
        )
    }
)
ONE_STEP = {
    "max_steps": 1,
    "batch_size": 64,
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "scheduler": "constant",
    "max_grad_norm": 0.0,
    "weight_decay": 0.0,
}
# The same step without anything of Quern: gradient descent on the mean loss of all tokens.
PLAIN = """
import json, sys
from pathlib import Path
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

base, trained, rows = (Path(argument) for argument in sys.argv[1:])
tokenizer = AutoTokenizer.from_pretrained(base)
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
total, count = 0.0, 0
for line in rows.read_text().splitlines():
    row = json.loads(line)
    prompt = tokenizer(row["phrase"]).input_ids
    ids = tokenizer(row["phrase"] + row["tone"]).input_ids
    if ids[: len(prompt)] != prompt:
        ids = prompt + tokenizer(row["tone"], add_special_tokens=False).input_ids
    ids = torch.tensor([[*ids, tokenizer.eos_token_id]])
    logits = model(input_ids=ids).logits[0, :-1]
    total = total + torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum")
    count += ids.shape[1] - 1
(total / count).backward()
after = load_file(trained / "model.safetensors")
moved = wrong = 0.0
for name, weight in model.named_parameters():
    step = 0.1 * weight.grad
    moved = max(moved, float(step.abs().max()))
    wrong = max(wrong, float((after[name] - (weight.detach() - step)).abs().max()))
print(moved, wrong)
"""


@pytest.fixture(scope="module")
def work(toolchain_python: Path, material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("full") / "work"
    made: Inputs = {"model": plans.output_of("tuned")}
    built: Inputs = {"artifact": plans.output_of("model_builder"), **made}
    tuning = {"max_steps": 12, "learning_rate": 1e-3, "batch_size": 8}
    plans.must_run(
        toolchain_python,
        work,
        material,
        [
            plans.step("step", "pass", BASE, ONE_STEP, RAW, "full_finetune"),
            plans.step("tuned", "pass", BASE, tuning, plans.TONES, "full_finetune"),
            plans.step("model_builder", "pass", made),
            plans.step("graph", "check", built),
        ],
    )
    return work


def test_one_step_is_that_of_gradient_descent(
    toolchain_python: Path, material: Path, work: Path
) -> None:
    places = [material / "checkpoint", work / "step" / "output", material / "tones.jsonl"]
    moved, wrong = map(float, warm_code(toolchain_python, PLAIN, *places).split())
    assert moved > 1e-3
    assert wrong < 1e-6


def test_its_checkpoint_is_whole_and_names_no_place(material: Path, work: Path) -> None:
    output = work / "tuned" / "output"
    base = {path.name for path in (material / "checkpoint").iterdir()}
    assert {path.name for path in output.iterdir()} >= base
    assert "_name_or_path" not in json.loads((output / "config.json").read_text())
    figures = plans.result(work, "tuned").metrics
    assert figures["trainable_parameters"] == figures["parameters"]
    curve: Any = figures["train_loss_curve"]
    assert curve[-1][1] < curve[0][1]


def test_what_is_built_of_it_passes_its_check(work: Path) -> None:
    verdicts = plans.result(work, "graph").verdicts
    assert verdicts
    assert all(verdict.status == "passed" for verdict in verdicts), verdicts
