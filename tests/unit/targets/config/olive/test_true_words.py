"""What is said of Olive files is true: all at once, of the right key, with Olive's own defaults."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from targets.cli.main import main
from targets.config.documents import read_documents
from targets.config.load import load_document
from targets.config.olive.ledger import State
from targets.config.olive.text import last_field
from targets.console.print_explanation import print_explanation
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
        "OpenVINOExecutionProvider",
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


def problems(tmp_path: Path, raw: Any) -> dict[str, str]:
    """Return what commands say of the file, by key."""
    file = tmp_path / "olive-config.json"
    file.write_text(json.dumps(raw, indent=1), "utf-8")
    (read,) = read_documents(file)
    with pytest.raises(ConfigError) as error:
        load_document(file, read)
    return {one.key: f"{one.message} | {one.suggestion}" for one in error.value.problems}


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize(
    "accelerator",
    [
        {"device": "gpu", "execution_providers": ["NvTensorRTRTXExecutionProvider"]},
        {"device": "npu"},
    ],
)
def test_no_target_is_blamed_that_the_file_does_not_ask_for(
    tmp_path: Path, precision: str, accelerator: Any
) -> None:
    # The cpu target, the default, has no fp16: but the file is not for it.
    raw = {
        "input_model": "org/name",
        "passes": {"b": {"type": "ModelBuilder", "precision": precision}},
        "target": {"type": "LocalSystem", "accelerators": [accelerator]},
    }
    assert "the target" not in "".join(problems(tmp_path, raw).values())
    raw["target"] = {"type": "LocalSystem", "accelerators": [{"device": "cpu"}]}
    assert "the target cpu cannot" in problems(tmp_path, raw)["passes.b.precision"]


def test_an_unknown_option_of_the_builder_is_named_once(tmp_path: Path) -> None:
    raw = {
        "input_model": "org/name",
        "passes": {
            "b": {"type": "ModelBuilder", "precision": "int4", "extra_options": {"quant_mode": "x"}}
        },
    }
    assert list(problems(tmp_path, raw)) == ["passes.b.type"]


def test_rows_that_a_refused_function_makes_are_not_asked_for(tmp_path: Path) -> None:
    raw = {
        "input_model": "org/name",
        "data_configs": [
            {
                "name": "timed",
                "user_script": "own.py",
                "load_dataset_config": {"type": "local_dataset"},
                "dataloader_config": {"type": "own_batches"},
            }
        ],
        "evaluators": {
            "e": {
                "metrics": [
                    {
                        "name": "a",
                        "type": "accuracy",
                        "data_config": "timed",
                        "sub_types": [
                            {"name": "accuracy_score", "goal": {"type": "threshold", "value": 0.5}}
                        ],
                    }
                ]
            }
        },
        "evaluator": "e",
        "passes": {"b": {"type": "ModelBuilder", "precision": "int4"}},
    }
    assert list(problems(tmp_path, raw)) == ["data_configs[0].dataloader_config.type"]


def test_what_a_refused_pass_left_to_quantize_is_not_judged(tmp_path: Path) -> None:
    raw = training("SpinQuant")
    raw["passes"]["b"] = {
        "type": "ModelBuilder",
        "precision": "int4",
        "int4_op_types_to_quantize": ["Gather"],
    }
    assert list(problems(tmp_path, raw)) == ["passes.t.type"]
    del raw["passes"]["t"]
    assert "op_types without MatMul" in "".join(problems(tmp_path, raw).values())


@pytest.mark.parametrize(
    "model",
    [
        {"type": "HfModel", "model_path": "org/name", "task": "image-classification"},
        {"type": "PyTorchModel", "model_path": "x", "model_loader": "load", "model_script": "l.py"},
        {"type": "OnnxModel", "model_path": "folder/model.onnx"},
    ],
)
def test_no_model_is_sent_to_a_builder_that_cannot_take_it(model: Any) -> None:
    passes = {
        name: {"type": name}
        for name in ("OnnxConversion", "OrtTransformersOptimization", "OnnxKQuantQuantization")
    }
    hints = "".join(refusals({"input_model": model, "passes": passes}).values())
    assert "no pass OnnxConversion" in hints
    assert "ModelBuilder" not in hints
    assert "ModelBuilder" in "".join(refusals({"input_model": "o/n", "passes": passes}).values())


@pytest.mark.parametrize(("kind", "separate"), [("LoRA", True), ("LoHa", False), ("DoRA", False)])
def test_only_a_lora_adapter_is_sent_after_the_builder(kind: str, separate: bool) -> None:
    raw = training(kind)
    raw["passes"]["e"] = {"type": "ExtractAdapters", "adapter_type": kind.lower()}
    raw["passes"]["b"] = {"type": "ModelBuilder"}
    said = refusals(raw)["passes.e.type"]
    assert "no pass ExtractAdapters" not in said
    assert ("put it after ModelBuilder" in said) == separate
    assert "MergeAdapterWeights" in said


# microsoft/Olive at 9253bbe0, olive/olive_config.json, and a recipe of the AI Toolkit's.
@pytest.mark.parametrize(
    "name",
    ["QuarkQuantizationVitisAI", "RyzenGenerateModelLLM", "SaveTestModelConfig", "AitkPython"],
)
def test_no_other_pass_is_meant_by_the_newest_names(name: str) -> None:
    said = refusals(training(name))["passes.t.type"]
    assert f"Quern has no pass {name} |" in said
    assert "did you mean" not in said


def test_a_file_that_only_measures_is_told_what_would_be_measured() -> None:
    raw = {"input_model": "org/name", "evaluator": {"metrics": []}}
    assert "its artifact is measured" in refusals(raw)[""]
    del raw["evaluator"]
    assert "does not choose" in refusals(raw)[""]


def test_another_programs_file_is_called_so() -> None:
    said = refusals({"Name": "phi", "PromptTemplate": {"user": "{Content}"}})
    assert list(said) == [""]
    assert "no config of Olive's" in said[""]


@pytest.mark.parametrize("asked", [True, False])
def test_nothing_is_said_to_be_measured_without_rows(asked: bool) -> None:
    raw = {
        "input_model": "org/name",
        "evaluate_input_model": asked,
        "passes": {"b": {"type": "ModelBuilder"}},
    }
    assert state(translated(raw), "evaluate_input_model") == (
        State.NO_EFFECT,
        "there are no held-out rows on which it could be measured",
    )


def test_samples_of_a_metric_are_in_the_report() -> None:
    raw = training("LoRA")
    metric = {"name": "a", "type": "accuracy", "data_config": "rows", "sample_log_num": 10}
    raw["evaluator"] = {"metrics": [metric]}
    assert not translated(raw).ledger.refusals


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
    del raw["passes"]["t"]
    raw["passes"]["b"] = {"type": "ModelBuilder"}
    assert "PyTorch runs where a GPU" in state(translated(raw), "systems", "box", *device)[1]
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


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_word_wider_than_its_column_is_whole(tmp_path: Path, width: int) -> None:
    model = "organization/A-Model-Of-Some-Length-Instruct"
    file = tmp_path / "a-file-with-a-rather-long-name-and-no-blank.json"
    raw = {"input_model": model, "passes": {"b": {"type": "ModelBuilder", "precision": "fp64"}}}
    file.write_text(json.dumps(raw), "utf-8")
    ledger = read_documents(file)[0].ledger
    assert ledger is not None
    out = io.StringIO()
    print_explanation(Console(file=out, width=width), ledger)
    assert f'"hf:{model}@main"' in out.getvalue()
    assert f'"{file.stem}"' in out.getvalue()


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
