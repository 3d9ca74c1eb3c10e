"""What becomes of Olive files: every key has its line, and numbers mean what the author wrote."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from targets.config.olive.ledger import State, leaves
from tests.support.olive_files import FILES, document, read_olive_file, refusals, state, translated


@pytest.mark.parametrize("name", ["tutorial.json", "azure.json", "dict-data.json", "flat.json"])
def test_every_key_is_in_exactly_one_state(name: str) -> None:
    raw = read_olive_file(name)
    entries = [entry.path for entry in translated(raw).ledger.entries]
    assert sorted(map(str, entries)) == sorted(str(path) for path, _ in leaves(raw, ()))


def test_keys_that_nobody_knows_are_refused_wherever_they_stand() -> None:
    raw = read_olive_file("tutorial.json")
    raw["input_model"]["config"]["hf_config"]["tasks"] = "x"
    raw["systems"]["local_system"]["config"]["colour"] = "x"
    raw["data_configs"][0]["load_dataset_config"]["params"]["data_fils"] = "x"
    raw["data_configs"][0]["pre_process_data_config"]["params"]["text_temlate"] = "x"
    raw["passes"]["lora"]["config"]["lora_alfa"] = 1
    raw["passes"]["lora"]["config"]["training_args"]["learning_rat"] = 1
    raw["passes"]["builder"]["config"]["presicion"] = "int4"
    raw["engine"]["log_levle"] = 1
    raw["engin"] = {}
    found = refusals(raw)
    assert len(found) == 9
    assert "did you mean 'lora_alpha'?" in found["passes.lora.config.lora_alfa"]
    assert "did you mean 'learning_rate'?" in found["passes.lora.config.training_args.learning_rat"]
    assert (
        "did you mean 'text_template'?"
        in found["data_configs.0.pre_process_data_config.params.text_temlate"]
    )
    assert "did you mean 'engine'?" in found["engin"]


def test_the_tutorial_keeps_its_numbers() -> None:
    made = document(read_olive_file("tutorial.json"))
    lora = made["passes"]["lora"]
    wanted = {
        "r": 64,
        "alpha": 64,
        "dropout": 0.1,
        "target_modules": ["o_proj", "qkv_proj"],
        "data_seed": 42,
        "batch_size": 1,
        "eval_batch_size": 1,
        "gradient_accumulation": 4,
        "gradient_checkpointing": False,
        "learning_rate": 0.0001,
        "max_steps": 10,
        "eval_steps": 187,
        "group_by_length": True,
        "adam_beta2": 0.999,
        "max_grad_norm": 0.3,
    }
    assert {key: lora[key] for key in wanted} == wanted
    assert "epochs" not in lora  # max_steps goes first, as in transformers
    assert made["seed"] == 0
    data = made["data"]["dataset_default_train"]
    assert data["template"] == "### Text: {phrase}\n### The tone is:\n{tone}"
    assert (data["completion"], data["loss_on"]) == ("{tone}", "all")
    assert data["sequences"] == {"strategy": "join", "length": 2048, "joiner": ""}
    assert data["split"] == {"eval": 0.3, "validation": "eval", "seed": 42}
    assert made["model"] == {"source": "model", "trust_remote_code": True}
    assert made["default_targets"] == ["cpu"]
    assert made["passes"]["builder"] == {"type": "model_builder", "precision": "int4"}
    assert list(made["passes"]) == ["lora", "merge_adapter_weights", "builder"]


def test_what_has_no_effect_says_why() -> None:
    found = translated(read_olive_file("tutorial.json"))
    lora = ("passes", "lora", "config")
    assert state(found, *lora, "double_quant")[0] is State.NO_EFFECT
    assert state(found, *lora, "training_args", "num_train_epochs") == (
        State.NO_EFFECT,
        "max_steps goes first",
    )
    assert state(found, "engine", "search_strategy")[0] is State.HONOURED
    assert "lora.alpha = 64" in state(found, *lora, "lora_alpha")[1]
    without = [entry for entry in found.ledger.entries if entry.state is State.NO_EFFECT]
    assert all(entry.note for entry in without)


def test_a_file_without_a_word_on_training_gets_olives_defaults() -> None:
    raw = read_olive_file("flat.json")
    made = translated(raw)
    lora = made.flows[0].document["passes"]["l"]
    assert (lora["batch_size"], lora["learning_rate"], lora["scheduler"]) == (8, 2e-4, "constant")
    assert made.ledger.defaults["passes.l.learning_rate"] == "0.0002"
    assert "passes.l.alpha" not in made.ledger.defaults


def test_flows_become_builds_of_their_own() -> None:
    import yaml

    found = translated(yaml.safe_load((FILES / "flows.yaml").read_text()))
    first, second = (flow.document for flow in found.flows)
    assert (first["name"], second["name"]) == ("olive-config-1", "olive-config-2")
    assert list(first["passes"]) == ["a", "merge", "build"]
    assert second["passes"]["b"]["use_dora"] is True
    data = first["data"]["train"]
    assert (data["prompt"], data["completion"]) == ("{phrase} -> ", "{tone}")
    assert data["sequences"] == {"prompt_length": 48, "completion_length": 8, "length": 56}
    assert data["loss_on"] == "completion"


def test_an_azure_system_is_read_whole_and_local_replaces_it() -> None:
    raw = read_olive_file("azure.json")
    made = document(raw)
    assert made["host"] == "aml"
    assert made["systems"]["aml"] == {
        "type": "azureml",
        "compute": "gpu-cluster",
        "subscription": "0000-subscription",
        "resource_group": "our-group",
        "workspace": "our-workspace",
        "keyvault": "our-vault",
        "max_hours": 24,
    }
    local = document(raw, "local")
    placed = ("host", "systems")
    assert local == {key: value for key, value in made.items() if key not in placed}
    assert made["model"]["source"] == (
        "azureml://registries/azureml/models/Phi-3-mini-4k-instruct/versions/11"
    )
    assert made["data"]["dataset_default_train"]["path"] == (
        "azureml://subscriptions/0000-subscription/resourcegroups/our-group/workspaces/our-workspace"
        "/datastores/workspaceblobstore/paths/tone/train.json"
    )
    del raw["systems"]["aml"]["config"]["aml_compute"]
    assert "needs aml_compute" in refusals(raw)["systems.aml"]


def test_azure_arc_is_the_same_job_on_another_compute() -> None:
    raw = read_olive_file("azure.json")
    raw["engine"]["host"] = raw["engine"]["target"] = "azure_arc"
    system = raw["systems"]["azure_arc"]["config"]
    system["tags"] = {"project": "tone"}
    system["datastores"] = ["ours"]
    made = document(raw)["systems"]
    assert list(made) == ["azure_arc"]
    assert made["azure_arc"]["compute"] == "arc-cluster"
    assert made["azure_arc"]["instance_type"] == "defaultinstancetype"
    assert made["azure_arc"]["tags"] == {"project": "tone"}
    assert made["azure_arc"]["datastore"] == "ours"
    assert "keyvault" not in made["azure_arc"]  # it asks for no token
    system["instance_count"] = 2
    assert (
        "does not say how the machines" in refusals(raw)["systems.azure_arc.config.instance_count"]
    )


def test_what_is_without_effect_on_azure_is_said() -> None:
    translation = translated(read_olive_file("azure.json"))
    for key in ("base_image", "conda_file_path"):
        found = state(translation, "systems", "aml", "config", "aml_docker_config", key)
        assert found[0] is State.NO_EFFECT
        assert "locked toolchain" in found[1]
    assert state(translation, "systems", "aml", "config", "aml_compute") == (
        State.TRANSLATED,
        "systems.NAME.compute",
    )


def with_box(**keys: Any) -> dict[str, Any]:
    """Return a file whose host is another machine's engine."""
    raw: dict[str, Any] = read_olive_file("tutorial.json")
    raw["systems"]["box"] = {"type": "Docker", "config": keys}
    raw["engine"]["host"] = "box"
    return raw


def test_a_docker_system_with_an_engine_is_another_machine() -> None:
    raw = with_box(engine="ssh://me@box:22", patience=60, checkpoints=True)
    here = document(read_olive_file("tutorial.json"))
    made = document(raw)
    assert made["host"] == "box"
    table = {"type": "docker", "engine": "ssh://me@box:22", "patience": 60, "checkpoints": True}
    assert made["systems"] == {"box": table}
    assert "runtime" not in made
    without = {"host", "systems", "runtime"}
    assert {key: made[key] for key in made.keys() - without} == {
        key: here[key] for key in here.keys() - without
    }
    treated, note = state(translated(raw), "systems", "box", "config", "engine")
    assert (treated, note) == (State.TRANSLATED, "systems.box.engine")
    assert document(raw, "local").get("host") != "box"
    raw["engine"]["host"] = "local_system"
    assert document(raw, "box")["host"] == "box"


def test_a_gpu_of_another_machine_trains_there() -> None:
    raw = with_box(engine="ssh://me@box:22", accelerators=["gpu"])
    assert document(raw)["systems"]["box"]["trains"] == "cuda"
    raw = with_box(engine="ssh://me@box:22", accelerators=["gpu"], trains="cpu")
    assert document(raw)["systems"]["box"]["trains"] == "cpu"


def test_another_machine_may_be_described_where_it_is_used() -> None:
    raw = read_olive_file("tutorial.json")
    raw["engine"]["host"] = {"type": "Docker", "engine": "tcp://box:2376", "certificates": "certs"}
    made = document(raw)
    table = {"type": "docker", "engine": "tcp://box:2376", "certificates": "certs"}
    assert made["systems"] == {made["host"]: table}


def test_another_machine_needs_an_address() -> None:
    assert "needs the address" in refusals(with_box(patience=60))["systems.box"]


def test_secrets_are_neither_kept_nor_shown() -> None:
    raw = read_olive_file("dict-data.json")
    data = raw["data_configs"]["phrases-train"]
    data["user_script"] = "rows.py"
    data["components"] = {"load_dataset": {"type": "rows"}}
    data["params_config"]["component_kwargs"]["load_dataset"] = {"token": "hf_very_secret"}
    raw["input_model"]["config"]["hf_config"]["from_pretrained_args"] = {"token": "hf_very_secret"}
    raw["azureml_client"] = {"workspace_name": "w", "client_secret": "hf_very_secret"}
    found = translated(raw)
    assert not found.ledger.refusals
    shown = [(entry.value, entry.note) for entry in found.ledger.entries]
    assert "secret" not in json.dumps([flow.document for flow in found.flows])
    assert "hf_very_secret" not in str(shown)


def test_a_secret_is_not_in_the_message_that_refuses_it() -> None:
    raw = read_olive_file("tutorial.json")
    config = raw["input_model"]["config"]["hf_config"]
    config["model_loading_args"] = {"token": "hf_one", "use_auth_token": "hf_two"}
    raw["passes"]["builder"].setdefault("config", {})["extra_options"] = {"hf_token": "hf_three"}
    found = translated(raw)
    said = str([(item.reason, item.suggestion) for item in found.ledger.refusals])
    assert any("no config keeps secrets" in item.reason for item in found.ledger.refusals)
    shown = str(found.ledger.entries)
    for secret in ("hf_one", "hf_two", "hf_three"):
        assert secret not in said
        assert secret not in shown
        assert secret not in json.dumps(found.flows[0].document)


def test_a_pass_that_is_not_here_is_named_with_what_does_its_work() -> None:
    raw = read_olive_file("tutorial.json")
    raw["passes"]["convert"] = {"type": "OnnxConversion", "config": {"target_opset": 17}}
    raw["passes"]["mine"] = {"type": "MergeAdaptorWeights"}
    found = refusals(raw)
    assert "ModelBuilder makes the ONNX graph" in found["passes.convert.type"]
    assert "did you mean 'MergeAdapterWeights'?" in found["passes.mine.type"]


def test_references_to_what_is_not_defined_name_the_nearest() -> None:
    raw = read_olive_file("tutorial.json")
    raw["engine"]["host"] = "local_sytem"
    raw["engine"]["evaluator"] = "judge"
    raw["evaluators"] = {"judges": {"metrics": []}}
    raw["passes"]["lora"]["config"]["train_data_config"] = "dataset_default_trian"
    raw["pass_flows"] = [["lora", "merge_adapter_weight", "builder"]]
    found = refusals(raw)
    assert "did you mean 'local_system'?" in found["engine.host"]
    assert "did you mean 'judges'?" in found["engine.evaluator"]
    assert "did you mean 'dataset_default_train'?" in found["passes.lora.config.train_data_config"]
    assert "did you mean 'merge_adapter_weights'?" in found["pass_flows.0"]


def test_placeholders_are_named() -> None:
    raw = read_olive_file("tutorial.json")
    raw["passes"]["lora"]["config"]["lora_r"] = "<lora_r>"
    params = raw["data_configs"][0]["load_dataset_config"]["params"]
    params["data_files"] = "<data_configs_data_files>"
    params["<extra>"] = 1
    raw["data_configs"][0]["pre_process_data_config"]["params"]["text_template"] = "<text_template>"
    found = refusals(raw)
    assert sum("was left unfilled" in reason for reason in found.values()) == 4
    # The tokens of a chat look alike and are none.
    params.pop("<extra>")
    params["data_files"] = "tone.jsonl"
    raw["passes"]["lora"]["config"]["lora_r"] = 8
    template = "<|user|>\n{phrase}<|end|>\n<|assistant|>\n{tone}<|end|>"
    raw["data_configs"][0]["pre_process_data_config"]["params"]["text_template"] = template
    made = document(raw)
    assert made["data"]["dataset_default_train"]["completion"] == "{tone}<|end|>"


def test_providers_choose_targets() -> None:
    raw = read_olive_file("tutorial.json")
    engine = raw["engine"]
    engine["execution_providers"] = ["DmlExecutionProvider", "CUDAExecutionProvider"]
    assert document(raw)["default_targets"] == ["directml", "cuda"]
    engine["execution_providers"] = ["WebGpuExecutionProvider"]
    assert document(raw)["default_targets"] == ["webgpu"]
    engine["execution_providers"] = ["QNNExecutionProvider"]
    assert "no target of Quern runs on QNN" in refusals(raw)["engine.execution_providers"]
    engine["execution_providers"] = ["CpuExecutionProvider"]
    assert "did you mean 'CPUExecutionProvider'?" in refusals(raw)["engine.execution_providers"]
    # The accelerator decides where the engine does not.
    del engine["execution_providers"]
    assert document(raw)["default_targets"] == ["cpu"]


@pytest.mark.parametrize(
    ("option", "asked", "written"),
    [
        ("use_webgpu_fp32", False, {"webgpu": {"fp32_io": False}}),
        ("use_webgpu_fp32", True, None),
        ("enable_cuda_graph", True, {"cuda": {"cuda_graph": True}}),
        ("enable_cuda_graph", False, None),
    ],
)
def test_a_switch_of_one_target_is_set_for_it_unless_it_is_so_anyway(
    option: str, asked: bool, written: dict[str, Any] | None
) -> None:
    raw = read_olive_file("tutorial.json")
    (name,) = [key for key, one in raw["passes"].items() if one["type"] == "ModelBuilder"]
    raw["passes"][name].setdefault("config", {})[option] = asked
    targets = document(raw).get("targets")
    wanted = {target: {"passes": {name: keys}} for target, keys in (written or {}).items()}
    assert (targets or {}) == wanted


def test_alternatives_of_one_key_must_agree() -> None:
    raw = read_olive_file("tutorial.json")
    raw["passes"]["lora"]["config"]["alpha"] = 64
    assert document(raw)["passes"]["lora"]["alpha"] == 64
    raw["passes"]["lora"]["config"]["alpha"] = 16
    assert "remove one of the two" in refusals(raw)["passes.lora.config.lora_alpha"]


def searching(strategy: object, **builder: object) -> Any:
    raw = read_olive_file("tutorial.json")
    raw["engine"]["search_strategy"] = strategy
    raw["passes"]["builder"]["config"] |= builder
    return raw


def test_a_search_becomes_the_tune_pass_over_what_olive_searches() -> None:
    strategy = {"execution_order": "joint", "sampler": "tpe", "max_samples": 5, "seed": 3}
    made = document(searching({**strategy, "max_time": 600, "max_iter": 9}))
    assert made["passes"]["builder"] == {
        "type": "tune",
        "precision": "int4",
        "space": {
            "block_size": [32, 64, 128],
            "symmetric": [True, False],
            "algorithm": ["default", "rtn", "k_quant_mixed", "k_quant_last"],
        },
        "search_by": "tpe",
        "max_trials": 5,
        "max_seconds": 600,
        "sampler_seed": 3,
        "goal": "answer",
    }
    assert document(searching(True))["passes"]["builder"]["search_by"] == "grid"


def test_values_to_try_are_those_of_the_file() -> None:
    listed = {"olive_parameter_type": "SearchParameter", "type": "Categorical", "support": [16, 32]}
    built = document(
        searching(
            {"sampler": "sequential"},
            int4_block_size=listed,
            int4_is_symmetric="DEFAULT_VALUE",
            int4_algo_config="rtn",
            int4_accuracy_level=[1, 4],
        )
    )["passes"]["builder"]
    assert built["space"] == {"block_size": [16, 32], "accuracy_level": [1, 4]}
    assert (built["symmetric"], built["algorithm"]) == (True, "rtn")


@pytest.mark.parametrize(
    ("kind", "goal"), [("latency", "prompt"), ("throughput", "prompt"), ("accuracy", None)]
)
def test_the_metric_that_goes_first_decides_what_is_looked_for(kind: str, goal: str | None) -> None:
    raw = searching({"sampler": "tpe"})
    others = ["latency", "accuracy"]
    metrics = [
        {
            "name": name,
            "type": name,
            "sub_types": [
                {"name": {"accuracy": "accuracy_score"}.get(name, "avg"), "priority": priority}
            ],
        }
        for priority, name in enumerate([kind, *(one for one in others if one != kind)], start=1)
    ]
    raw["evaluators"] = {"one": {"metrics": metrics}}
    raw["engine"]["evaluator"] = "one"
    if goal is None:
        said = refusals(raw)["engine.search_strategy"]
        assert "is accuracy" in said
        assert "give latency the first priority" in said
    else:
        goals = [flow.document["passes"]["builder"]["goal"] for flow in translated(raw).flows]
        assert goals == [goal]


def test_a_search_that_cannot_be_meant_is_refused() -> None:
    found = refusals(searching({"sampler": "genetic", "colour": 1}))
    assert "there is no sampler genetic" in found["engine.search_strategy.sampler"]
    assert "no such key" in found["engine.search_strategy.colour"]
    conditional = {"olive_parameter_type": "SearchParameter", "type": "Conditional"}
    found = refusals(searching({"sampler": "tpe"}, int4_block_size=conditional))
    assert "depend on another" in found["passes.builder.config.int4_block_size"]
    raw = searching({"sampler": "tpe"})
    raw["passes"]["builder"] = [raw["passes"]["builder"], raw["passes"]["builder"]]
    assert any("a search among passes" in reason for reason in refusals(raw).values())
    raw = searching({"sampler": "tpe"})
    del raw["passes"]["builder"]
    assert "does not end with it" in refusals(raw)["engine.search_strategy"]


def test_without_a_search_one_value_is_built() -> None:
    found = refusals(searching(False, int4_block_size="SEARCHABLE_VALUES"))
    assert "nothing is searched over" in found["passes.builder.config.int4_block_size"]
    for strategy in (False, {"sampler": "tpe", "include_pass_params": False}):
        assert document(searching(strategy))["passes"]["builder"]["type"] == "model_builder"
    raw = searching({"sampler": "tpe"})
    raw["passes"]["builder"]["disable_search"] = True
    assert document(raw)["passes"]["builder"]["type"] == "model_builder"
    raw = searching({"sampler": "tpe"}, precision="fp32")
    assert document(raw)["passes"]["builder"]["type"] == "model_builder"


def test_passes_of_ones_own_keep_their_parameters() -> None:
    raw = read_olive_file("flat.json")
    raw["passes"]["mine"] = {"type": "steps/mine.py:Mine", "config": {"strength": 3}}
    assert document(raw)["passes"]["mine"] == {"type": "steps/mine.py:Mine", "strength": 3}


def test_numbers_and_switches_mean_the_same_as_text() -> None:
    raw = read_olive_file("tutorial.json")
    config = raw["passes"]["lora"]["config"]
    config["eval_dataset_size"] = "0.3"
    config["training_args"].update(bf16="false", max_steps="10")
    found = document(raw)
    (data,) = found["data"].values()
    assert data["split"]["eval"] == 0.3
    assert found["passes"]["lora"]["max_steps"] == 10
    assert found["passes"]["lora"].get("precision") != "bf16"
    config["eval_dataset_size"] = [1]
    config["training_args"].update(bf16="perhaps", max_steps="ten")
    assert refusals(raw) == {
        "passes.lora.config.eval_dataset_size": "must be a number, not [1] | ",
        "passes.lora.config.training_args.bf16": 'must be true or false, not "perhaps" | ',
        "passes.lora.config.training_args.max_steps": 'must be a number, not "ten" | ',
    }


def test_placeholders_inside_lists_and_longer_text_are_found() -> None:
    raw = read_olive_file("tutorial.json")
    raw["passes"]["lora"]["config"]["target_modules"] = ["q_proj", "<MODULE>"]
    raw["data_configs"][0]["load_dataset_config"]["params"]["data_files"] = "<train>.jsonl"
    found = refusals(raw)
    assert "<MODULE>" in found["passes.lora.config.target_modules"]
    assert "<train>" in found["data_configs.0.load_dataset_config.params.data_files"]


def test_passes_of_one_type_keep_apart() -> None:
    raw = read_olive_file("tutorial.json")
    name = raw["data_configs"][0]["name"]
    raw["passes"] = [{"type": "LoRA", "r": r, "train_data_config": name} for r in (4, 8)]
    passes = document(raw)["passes"]
    assert [table["r"] for table in passes.values()] == [4, 8]


def test_of_alternatives_the_first_is_taken() -> None:
    raw = read_olive_file("tutorial.json")
    second = copy.deepcopy(raw["passes"]["lora"])
    second["config"]["r"] = 2
    raw["passes"]["lora"] = [raw["passes"]["lora"], second]
    found = translated(raw)
    assert len(found.flows) == 1
    assert found.flows[0].document["passes"]["lora"]["r"] == 64
    assert state(found, "passes", "lora", 1, "config", "r")[0] is State.NO_EFFECT


def test_wrong_shapes_are_refused_where_they_stand() -> None:
    for key, value in (("passes", "lora"), ("data_configs", "x"), ("pass_flows", "lora")):
        raw = read_olive_file("tutorial.json")
        raw[key] = value
        assert key in refusals(raw), key
    raw = read_olive_file("flat.json")
    raw["evaluators"]["judge"]["metrics"] = "fast"
    assert refusals(raw)["evaluators.judge.metrics"].startswith("metrics must be a list")


def test_a_hosts_name_is_checked_for_each_pass() -> None:
    raw = read_olive_file("tutorial.json")
    raw["passes"]["lora"]["host"] = "local_sistem"
    assert "local_system" in refusals(raw)["passes.lora.host"]


def test_builder_options_that_leave_no_text_model_are_refused_where_they_stand() -> None:
    raw = read_olive_file("tutorial.json")
    builder = raw["passes"]["builder"]["config"]
    builder["exclude_embeds"] = True
    builder["extra_options"] = {"exclude_lm_head": "false", "config_only": True}
    found = refusals(raw)
    place = "passes.builder.config"
    assert set(found) == {f"{place}.exclude_embeds", f"{place}.extra_options.config_only"}
    assert "no text" in found[f"{place}.exclude_embeds"]


def test_a_system_that_nobody_defined_is_no_key_of_the_file() -> None:
    raw = read_olive_file("tutorial.json")
    found = translated(raw, "local_sistem")
    (refusal,) = found.ledger.refusals
    assert "local_system" in refusal.suggestion
    assert len(found.ledger.entries) == len(list(leaves(raw, ())))


def test_an_adapter_beside_the_model_is_merged(tmp_path: Path) -> None:
    raw = read_olive_file("tutorial.json")
    adapter = tmp_path / "tuned"
    adapter.mkdir()
    raw["input_model"]["config"]["adapter_path"] = str(adapter)
    assert document(raw)["model"]["adapter"] == str(adapter)
    raw["input_model"]["config"]["adapter_path"] = "me/tuned"
    assert document(raw)["model"]["adapter"] == "hf:me/tuned"


def test_nothing_is_extracted_where_no_adapter_is_left() -> None:
    raw = read_olive_file("tutorial.json")
    raw["passes"]["extract"] = {"type": "ExtractAdapters", "config": {"save_format": "npz"}}
    assert "extract" not in document(raw)["passes"]
    treated, _ = state(translated(raw), "passes", "extract", "type")
    assert treated is State.NO_EFFECT


def test_an_adapter_that_is_extracted_stays_beside_the_model() -> None:
    raw = read_olive_file("tutorial.json")
    del raw["passes"]["merge_adapter_weights"]
    options = {"save_format": "onnx_adapter", "dynamic_lora_r": True, "adapter_type": "lora"}
    raw["passes"]["extract"] = {"type": "ExtractAdapters", "config": options}
    made = document(raw)["passes"]
    assert made["extract"] == {"type": "separate_adapter", "name": "adapter_weights"}
    assert [*made][-1] == "extract"
    options |= {"save_format": "npz", "make_inputs": False, "adapter_type": "dora"}
    refused = {key for key in refusals(raw) if key.startswith("passes.extract")}
    places = ("save_format", "make_inputs", "adapter_type")
    assert refused == {f"passes.extract.config.{name}" for name in places}


def test_an_adapter_is_extracted_after_the_model_is_built() -> None:
    raw = read_olive_file("tutorial.json")
    del raw["passes"]["merge_adapter_weights"]
    last = raw["passes"].popitem()
    raw["passes"]["extract"] = {"type": "ExtractAdapters"}
    raw["passes"].update([last])
    assert "put it after ModelBuilder" in refusals(raw)["passes.extract.type"]
