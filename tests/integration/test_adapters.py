"""Every kind of adapter: trained for a few steps and merged; and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.data_spec import Split
from pipeline.contract.events import Event, StepFailed, Warned
from pipeline.contract.plan import SourceInput, Step, StepInput
from tests.support import plans
from tests.support.distances import OTHER, SAME, measure_distances
from tests.support.warm_process import warm_code

ITERATIONS = 3
FEW = {"max_steps": 4, "batch_size": 8, "eval_batch_size": 8, "r": 8, "alpha": 4}
BASE: dict[str, StepInput | SourceInput] = {"model": plans.CHECKPOINT}
KINDS: Mapping[str, dict[str, Any]] = {
    "loha": {
        "rank_dropout": 0.1,
        "optimizer": "paged_ademamix_8bit",
        "optimizer_kwargs": {"beta3": 0.999, "t_alpha": 5},
        "scheduler": "greedy",
        "eval_on_start": True,
    },
    "lokr": {
        "decompose_both": True,
        "decompose_factor": 4,
        "init_weights": "lycoris",
        "scheduler": "reduce_lr_on_plateau",
        "scheduler_kwargs": {"factor": 0.5, "patience": 1},
        "eval_steps": 0.5,
        "logging_steps": 1,
        "drop_last": True,
        "shuffle": False,
    },
    "dora": {
        "use_dora": True,
        "target_modules": "auto",
        "optimizer": "sgd",
        "optimizer_kwargs": {"momentum": 0.9, "nesterov": True},
        "learning_rate": 0.5,
        "max_grad_norm": 0,
        "logging_steps": "epoch",
        "eval_delay": 2,
    },
    "loftq": {"loftq_iter": ITERATIONS, "max_steps": 12, "dropout": 0.0},
}
TYPES = {"dora": "lora"}
HELD_OUT = plans.TONES.model_copy(
    update={"spec": plans.TONES.spec.model_copy(update={"split": Split(validation=0.2)})}
)


@dataclass(frozen=True)
class Trained:
    """A work folder with an adapter of every kind, each merged."""

    python: Path
    material: Path
    work: Path
    events: list[Event]

    def run(self, step: Step) -> tuple[int, list[StepFailed]]:
        code, events, _ = plans.run(self.python, self.work, self.material, [step])
        return code, [event for event in events if isinstance(event, StepFailed)]

    def apart_from(self, name: str, over: str, *models: Path) -> dict[Path, float]:
        """Return how far ``models`` are from the adapter ``name`` beside its base."""
        adapter = self.work / name / "output"
        return measure_distances(self.python, self.material, adapter, over, *models)


@pytest.fixture(scope="module")
def trained(
    toolchain_python: Path, material: Path, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    """Train and merge all kinds in one process."""
    work = tmp_path_factory.mktemp("adapters") / "work"
    steps = [train(name, own) for name, own in KINDS.items()]
    steps += [merge(name) for name in KINDS]
    code, events, log = plans.run(toolchain_python, work, material, steps)
    assert code == 0, log[-3000:]
    return Trained(toolchain_python, material, work, events)


def train(name: str, own: Mapping[str, Any]) -> Step:
    return plans.step(name, "pass", BASE, {**FEW, **own}, HELD_OUT, TYPES.get(name, name))


def merge(name: str, model: SourceInput = plans.CHECKPOINT) -> Step:
    both: dict[str, StepInput | SourceInput] = {"model": model, "adapter": plans.output_of(name)}
    return plans.step(f"merge-{name}", "pass", both, type="merge")


@pytest.mark.parametrize("name", ["loha", "lokr", "dora", "loftq"])
def test_every_kind_is_trained_and_changes_the_base(trained: Trained, name: str) -> None:
    figures = plans.result(trained.work, name).metrics
    merged = plans.result(trained.work, f"merge-{name}").metrics
    assert 0 < figures["trainable_parameters"] < figures["parameters"]  # type: ignore[operator]
    assert figures["chosen_by"] == "validation"
    assert 0 < merged["relative_change"] < 0.5  # type: ignore[operator]
    assert merged["into"] == ("dequantized" if name == "loftq" else "original")


@pytest.mark.parametrize("name", ["loha", "lokr", "dora"])
def test_the_merged_model_answers_as_the_unmerged_one(trained: Trained, name: str) -> None:
    base, merged = trained.material / "checkpoint", trained.work / f"merge-{name}" / "output"
    far = trained.apart_from(name, "plain", merged, base)
    assert far[merged] <= SAME
    assert far[base] > OTHER


def test_loftq_is_merged_into_the_base_it_was_trained_over(trained: Trained) -> None:
    """And a merge that forgets how that base was fitted is told from it."""
    shutil.copytree(trained.work / "loftq", trained.work / "loftq-forgotten")
    forgotten = trained.work / "loftq-forgotten" / "output" / "base_quantization.json"
    settings = json.loads(forgotten.read_text("utf-8"))
    assert settings["loftq"]["iterations"] == ITERATIONS
    assert set(settings["loftq"]["ranks"].values()) == {FEW["r"]}
    forgotten.write_text(json.dumps({**settings, "loftq": None}), "utf-8")
    code, failed = trained.run(merge("loftq-forgotten"))
    assert code == 0, failed
    merged, faulty = (
        trained.work / name / "output" for name in ("merge-loftq", "merge-loftq-forgotten")
    )
    far = trained.apart_from("loftq", str(ITERATIONS), merged, faulty)
    assert far[merged] <= SAME
    assert far[faulty] > OTHER


def test_the_curves_have_the_points_asked_for(trained: Trained) -> None:
    loha, lokr, dora = (
        plans.result(trained.work, name).metrics for name in ("loha", "lokr", "dora")
    )
    assert steps_of(lokr["train_loss_curve"]) == [1, 2, 3, 4]
    assert steps_of(lokr["validation_loss_curve"]) == [2, 4]
    assert steps_of(loha["validation_loss_curve"])[0] == 0
    assert steps_of(dora["train_loss_curve"]) == [2, 4]  # two epochs
    assert steps_of(dora["validation_loss_curve"]) == [4]


def steps_of(curve: Any) -> list[int]:
    return [step for step, _ in curve]


def test_loftq_is_not_merged_into_the_original_base(trained: Trained) -> None:
    step = merge("loftq").model_copy(
        update={"name": "original", "key": "original", "params": {"into": "original"}}
    )
    code, failed = trained.run(step)
    assert code == 1
    assert "loftq" in failed[0].message


def test_a_paged_optimizer_without_a_gpu_is_said(trained: Trained) -> None:
    warnings = [event.message for event in trained.events if isinstance(event, Warned)]
    assert any("ademamix_8bit in place of paged_ademamix_8bit" in text for text in warnings)


@pytest.mark.parametrize("name", ["loha", "lokr"])
def test_an_adapter_of_another_size_is_refused(trained: Trained, name: str) -> None:
    """The fault: a model whose layers are called the same, and are wider."""
    wider = trained.material / "wider"
    if not wider.is_dir():
        shutil.copytree(trained.material / "checkpoint", wider)
        script = (
            "import sys, transformers as t\n"
            "c = t.AutoConfig.from_pretrained(sys.argv[1], intermediate_size=320)\n"
            "t.AutoModelForCausalLM.from_config(c).save_pretrained(sys.argv[1])"
        )
        warm_code(trained.python, script, wider)
    elsewhere = trained.work / f"{name}-elsewhere"
    shutil.copytree(trained.work / name, elsewhere)
    (elsewhere / "output" / "base_fingerprint.json").unlink()  # an adapter made elsewhere has none
    model = SourceInput(
        ref=plans.CHECKPOINT.ref.model_copy(update={"path": "wider"}), digest="wider"
    )
    code, failed = trained.run(merge(f"{name}-elsewhere", model))
    assert code == 1
    assert failed[0].cause == "bad_input"
    assert "made for another model" in failed[0].message
    assert "has another size" in failed[0].message


def test_layers_that_are_not_there_are_named(trained: Trained) -> None:
    cases = {
        "target_modules: there is no q_proy": {"target_modules": ["qkv_proj", "q_proy"]},
        "target_modules: '.*q_proy' matches no layer": {"target_modules": ".*q_proy"},
        "exclude_modules: there is no o_proy": {"exclude_modules": ["o_proy"]},
        "modules_to_save: there is no lm_heed": {"modules_to_save": ["lm_heed"]},
        "rank_pattern: there is no up_proj": {"rank_pattern": {"up_proj": 4}},
        "layers: there is no layer 2": {"layers": [2]},
    }
    script = (
        "import json, sys\nfrom transformers import AutoModelForCausalLM\n"
        "from pipeline.contract.errors import StepError\n"
        "from pipeline.training.adapter import add_adapter\n"
        "from pipeline.training.lycoris_params import LokrParams\n"
        "model = AutoModelForCausalLM.from_pretrained(sys.argv[1])\n"
        "for own in json.loads(sys.argv[2]):\n"
        "    try:\n        add_adapter(model, LokrParams.model_validate(own))\n"
        "    except StepError as error:\n        print('refused', error.cause, error)"
    )
    base = trained.material / "checkpoint"
    done = warm_code(trained.python, script, base, json.dumps(list(cases.values())))
    said = [line for line in done.splitlines() if line.startswith("refused")]
    assert said == [f"refused bad_input {case}" for case in cases]


MISREAD = """
import torch
from bitsandbytes.nn import Linear4bit
from pipeline.contract.errors import StepError
from pipeline.training.quantization import BaseQuantization

model = torch.nn.ModuleDict({"down_proj": Linear4bit(160, 64), "up_proj": Linear4bit(64, 160)})
quantization = BaseQuantization(quant_type="nf4", double_quant=True)
try:
    quantization.require_readable(model)
except StepError as error:
    print(error, error.hint)
del model["down_proj"]
quantization.require_readable(model)
"""


def test_a_layer_that_bitsandbytes_misreads_is_not_trained(toolchain_python: Path) -> None:
    said = warm_code(toolchain_python, MISREAD)
    assert "no multiple of 64: down_proj put ['down_proj'] into skip_modules" in said
