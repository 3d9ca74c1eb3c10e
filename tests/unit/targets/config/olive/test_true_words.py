"""What is said of Olive files is true: all at once, of the right key, with Olive's own defaults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from targets.cli.main import main
from targets.config.documents import read_documents
from targets.config.load import load_document
from targets.config.olive.ledger import State
from targets.config.olive.text import last_field
from targets.errors import ConfigError
from tests.support.olive_files import document, refusals, state, translated

ROWS = {
    "name": "rows",
    "type": "HuggingfaceContainer",
    "load_dataset_config": {"data_name": "json", "data_files": "rows.jsonl"},
    "pre_process_data_config": {"text_cols": ["text"]},
}


def training(kind: str, **config: Any) -> dict[str, Any]:
    return {
        "input_model": {"type": "HfModel", "model_path": "org/name"},
        "data_configs": [ROWS],
        "passes": {"t": {"type": kind, "train_data_config": "rows", **config}},
    }


# olive-ai 0.13.0: `QLoRATrainingArguments.optim` and `LoHa`, `LoKr`'s target_modules in
# olive/passes/pytorch/lora.py; `eval_steps` of transformers follows logging_steps, which is 500.
@pytest.mark.parametrize(
    ("kind", "optimizer", "modules"),
    [
        ("LoRA", "adamw_torch", "auto"),
        ("DoRA", "adamw_torch", "auto"),
        ("LoHa", "adamw_torch", "all-linear"),
        ("LoKr", "adamw_torch", "all-linear"),
        ("QLoRA", "paged_adamw_32bit", "all-linear"),
        ("LoftQ", "paged_adamw_32bit", "all-linear"),
    ],
)
def test_defaults_are_olives(kind: str, optimizer: str, modules: str) -> None:
    made = document(training(kind))["passes"]["t"]
    assert (made["optimizer"], made["target_modules"]) == (optimizer, modules)


@pytest.mark.parametrize(
    ("arguments", "steps"),
    [
        ({}, 500),
        ({"eval_strategy": "steps"}, 500),
        ({"logging_steps": 20}, 20),
        ({"eval_steps": 0, "logging_steps": 20}, 20),
        ({"eval_steps": 7, "logging_steps": 20}, 7),
        ({"eval_strategy": "epoch"}, None),
    ],
)
def test_the_loss_is_measured_as_often_as_there(arguments: Any, steps: int | None) -> None:
    made = document(training("LoRA", eval_dataset_size=0.1, training_args=arguments))
    assert made["passes"]["t"].get("eval_steps") == steps


@pytest.mark.parametrize(
    "provider",
    [
        "QNNExecutionProvider",
        "WebGpuExecutionProvider",
        "NvTensorRTRTXExecutionProvider",
    ],
)
@pytest.mark.parametrize("last", ["QuaRot", "OnnxConversion", "NoSuchPass", "<PASS>"])
def test_a_provider_without_target_is_refused_beside_a_refused_pass(
    provider: str, last: str
) -> None:
    raw = training("LoRA")
    raw["passes"]["last"] = {"type": last}
    raw["systems"] = {"here": {"type": "LocalSystem", "accelerators": [_accelerator(provider)]}}
    raw["target"] = "here"
    found = refusals(raw)
    assert any(provider in text for text in found.values())
    assert "passes.last.type" in found


def _accelerator(provider: str) -> dict[str, Any]:
    return {"device": "gpu", "execution_providers": [provider]}


def test_what_a_refused_pass_would_read_is_not_called_unused() -> None:
    raw = training("QuaRot")
    raw["passes"]["t"]["data_config"] = "rows"
    name = state(translated(raw), "data_configs", 0, "name")
    assert name == (State.NO_EFFECT, "only what Quern lacks can use it")


def test_nothing_follows_from_what_was_refused(tmp_path: Path) -> None:
    raw = training("LoRA")
    raw["input_model"] = "<MODEL>"
    raw["data_configs"][0] = {**ROWS, "load_dataset_config": {"data_files": "<FILE>"}}
    file = tmp_path / "olive-config.json"
    file.write_text(json.dumps(raw, indent=1), "utf-8")
    (read,) = read_documents(file)
    with pytest.raises(ConfigError) as error:
        load_document(file, read)
    keys = {problem.key: problem.message for problem in error.value.problems}
    assert set(keys) == {
        "input_model",
        "data_configs[0].load_dataset_config.data_files",
    }
    assert all("placeholder" in message for message in keys.values())


def test_a_system_that_nothing_uses_has_no_effect_whatever_it_holds() -> None:
    raw = training("LoRA")
    raw["systems"] = {
        "here": {"type": "LocalSystem"},
        "there": {"type": "Nonsense", "accelerators": [{"device": "npu"}], "colour": 1},
    }
    raw["host"] = "here"
    found = translated(raw)
    assert not found.ledger.refusals
    for path in (("type",), ("accelerators", 0, "device"), ("colour",)):
        assert state(found, "systems", "there", *path) == (
            State.NO_EFFECT,
            "nothing in this file uses this system",
        )


def test_host_and_target_say_what_is_theirs() -> None:
    raw = training("LoRA")
    raw["systems"] = {
        "box": {"type": "Docker", "accelerators": [{"device": "gpu"}]},
        "small": {"type": "PythonEnvironment", "accelerators": [{"device": "cpu"}]},
    }
    raw |= {"host": "box", "target": "small"}
    found = translated(raw)
    device = ("accelerators", 0, "device")
    assert state(found, "systems", "box", "type")[1] == 'runtime = "docker"'
    assert "trains where a GPU is" in state(found, "systems", "box", *device)[1]
    assert state(found, "systems", "small", "type") == (
        State.NO_EFFECT,
        "the host says where steps run",
    )
    assert state(found, "systems", "small", *device)[1] == "the artifact is for the CPU"


@pytest.mark.parametrize("name", ["models/net.pt", "models/net.onnx", "a/b.safetensors"])
def test_a_file_is_no_name_on_the_hub(name: str) -> None:
    raw = training("LoRA")
    raw["input_model"]["model_path"] = name
    assert f"there is no file {name}" in refusals(raw)["input_model.model_path"]


# What a tokenizer's chat template writes before an answer, by the model's own card.
@pytest.mark.parametrize(
    ("template", "answer"),
    [
        (
            "<|user|>\n{q}<|end|>\n<|assistant|>\nIt is {tone}, since {why}.<|end|>",
            "It is {tone}, since {why}.<|end|>",
        ),
        (
            "<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n{a} ({b})<|im_end|>",
            "{a} ({b})<|im_end|>",
        ),
        ("[INST] {q} [/INST] {a} {b}</s>", "{a} {b}</s>"),
        (
            "<start_of_turn>user\n{q}<end_of_turn>\n<start_of_turn>model\n{a}<end_of_turn>",
            "{a}<end_of_turn>",
        ),
        ("### Question: {q}\n### Answer: {a}, {b}", "{a}, {b}"),
        ("{q}: {a}", "{a}"),
        ("The assistant: {q}", None),
    ],
)
def test_an_answer_is_what_follows_the_last_mark_of_an_assistant(
    template: str, answer: str | None
) -> None:
    assert last_field(template) == answer


def plan(file: Path, *options: str) -> Result:
    return CliRunner(env={"COLUMNS": "80"}).invoke(main, ["plan", "--config", str(file), *options])


def test_a_file_called_config_is_named_after_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "phi-tone"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(training("QuaRot")), "utf-8")
    (read,) = read_documents(folder / "config.json")
    assert read.table["name"] == "phi-tone"


def test_every_key_is_explained_where_the_file_cannot_be_built(tmp_path: Path) -> None:
    file = tmp_path / "olive-config.json"
    file.write_text(json.dumps(training("QuaRot")), "utf-8")
    ended = plan(file, "--explain", "--json")
    assert ended.exit_code == 2
    told = json.loads(ended.stdout)
    refused = [one["key"] for one in told["keys"] if one["state"] == "refused"]
    assert refused == [problem["key"] for problem in told["problems"]] == ["passes.t.type"]


def test_no_word_is_cut_and_no_long_list_repeated(tmp_path: Path) -> None:
    file = tmp_path / "olive-config.json"
    raw = training("CaptureLayerAnnotations")
    unknown = ("frobnicate", "zyx", "qqq")
    file.write_text(json.dumps({**raw, **dict.fromkeys(unknown, 1)}), "utf-8")
    shown = plan(file, "--explain").stdout
    assert max(map(len, map(str.rstrip, shown.splitlines()))) <= 80
    for word in ("CaptureLayerAnnotations", '"HuggingfaceContainer"', "pre_process_data_config"):
        assert word in shown
    assert shown.count("auto_optimizer_config") <= len(unknown)
