"""What becomes of the data sets of Olive files: rows, text, splits."""

from __future__ import annotations

import copy

from tests.support.olive_files import document, read_olive_file, refusals, translated


def test_the_oldest_form_of_data_sets_means_the_same_as_the_newest() -> None:
    old = read_olive_file("dict-data.json")
    new = copy.deepcopy(old)
    new["data_configs"] = [
        {
            "name": "phrases-train",
            "type": "HuggingfaceContainer",
            "load_dataset_config": {
                "data_name": "json",
                "data_files": "tone.jsonl",
                "split": "train[:40]",
            },
            "pre_process_data_config": {
                "corpus_strategy": "line-by-line",
                "text_template": "{phrase} -> {tone}",
                "source_max_len": 64,
            },
        }
    ]
    config = new["passes"]["qlora"].pop("config")
    config["alpha"] = 16
    new["passes"]["qlora"] |= config
    new |= new.pop("engine")
    assert document(new) == document(old)


def test_chats_and_other_adapters() -> None:
    made = document(read_olive_file("chat.json"))
    data = made["data"]["talks"]
    assert (data["messages"], data["loss_on"], data["path"]) == ("turns", "all", "chat.jsonl")
    assert data["sequences"]["stride"] == 32
    assert data["held_out"] == data["validation_data"] == "talks_test"
    adapt = made["passes"]["adapt"]
    assert (adapt["type"], adapt["r"], adapt["rank_dropout"]) == ("lokr", 8, 0.1)
    assert "dropout" not in adapt


def test_functions_of_the_author_go_along() -> None:
    raw = read_olive_file("flat.json")
    raw["data_configs"][0] = {
        "name": "train",
        "type": "HuggingfaceContainer",
        "user_script": "rows.py",
        "script_dir": "lib",
        "load_dataset_config": {"type": "my_rows", "params": {"split": "train", "language": "en"}},
        "pre_process_data_config": {"text_formatting_func": "as_text", "max_seq_len": 32},
    }
    raw["evaluators"]["judge"]["metrics"] = [
        {
            "name": "politeness",
            "type": "custom",
            "sub_types": [
                {
                    "name": "polite",
                    "higher_is_better": True,
                    "goal": {"type": "threshold", "value": 0.5},
                }
            ],
            "user_config": {
                "user_script": "metric.py",
                "metric_func": "polite",
                "func_kwargs": {"metric_func": {"words": ["please"]}},
            },
        }
    ]
    made = document(raw)
    assert made["data"]["train"]["code"] == {
        "script": "rows.py",
        "script_dir": "lib",
        "load": "my_rows",
        "load_params": {"split": "train", "language": "en"},
        "network": True,
        "columns": {"text": "as_text"},
    }
    assert made["data"]["train"]["template"] == "{text}"
    assert made["checks"]["politeness"] == {
        "type": "script",
        "script": "metric.py",
        "metric": "polite",
        "params": {"words": ["please"]},
        "goals": [{"metric": "polite", "at_least": 0.5}],
    }


def test_no_evaluation_rows_are_no_rows() -> None:
    raw = read_olive_file("tutorial.json")
    raw["passes"]["lora"]["config"]["eval_dataset_size"] = 0
    (data,) = document(raw)["data"].values()
    assert data["split"] == {"eval": 0, "validation": 0.0}


def test_rows_of_a_split_and_their_number_are_both_kept() -> None:
    raw = read_olive_file("tutorial.json")
    params = raw["data_configs"][0]["load_dataset_config"]["params"]
    for split, rows in (("train[10:]", "10:15"), ("train[:3]", "0:3"), ("train", ":5")):
        params.update(split=split, max_samples=5)
        (data,) = document(raw)["data"].values()
        assert data["rows"] == rows
    params.update(split="train[50%:]")
    (data,) = document(raw)["data"].values()
    assert (data["rows"], data["max_samples"]) == ("50%:", 5)


def test_files_of_several_parts_need_a_split() -> None:
    raw = read_olive_file("tutorial.json")
    params = raw["data_configs"][0]["load_dataset_config"]["params"]
    del params["split"]
    params["data_files"] = {"train": "tone.jsonl", "test": "other.jsonl"}
    assert list(refusals(raw)) == ["data_configs.0.load_dataset_config.params.data_files"]
    params["data_files"] = {"train": "tone.jsonl", "validation": "other.jsonl"}
    (data,) = document(raw)["data"].values()
    assert data["path"] == "other.jsonl"  # the split is "validation" where none is named


def test_files_inside_a_data_set_of_the_hub_are_refused() -> None:
    raw = read_olive_file("tutorial.json")
    params = raw["data_configs"][0]["load_dataset_config"]["params"]
    params.update(data_name="someone/rows", data_files="part.jsonl")
    assert list(refusals(raw)) == ["data_configs.0.load_dataset_config.params.data_files"]


def test_the_same_name_twice_is_refused() -> None:
    raw = read_olive_file("tutorial.json")
    raw["data_configs"].append(copy.deepcopy(raw["data_configs"][0]))
    assert list(refusals(raw)) == ["data_configs.1"]


def test_rows_that_a_metric_is_measured_on_are_held_out_and_the_table_says_so() -> None:
    raw = read_olive_file("tutorial.json")
    del raw["passes"]["lora"]["config"]["eval_dataset_size"]
    data = raw["data_configs"][0]["name"]
    metric = {"name": "p", "type": "accuracy", "data_config": data}
    raw["evaluators"] = {"e": {"metrics": [metric | {"sub_types": [{"name": "perplexity"}]}]}}
    raw["engine"]["evaluator"] = "e"
    found = translated(raw)
    assert found.flows[0].document["data"][data]["split"]["eval"] == 0.3
    assert "not trained on" in found.ledger.defaults[f"data.{data}.split.eval"]
    assert found.flows[0].document["checks"]["generation"]["min_ended"] == "as_tuned"


def test_a_loader_that_is_given_a_token_is_granted_the_hub_and_keeps_no_token() -> None:
    raw = read_olive_file("dict-data.json")
    data = raw["data_configs"]["phrases-train"]
    data["user_script"] = "rows.py"
    data["components"] = {"load_dataset": {"type": "rows"}}
    arguments = data["params_config"]["component_kwargs"]
    arguments["load_dataset"] = {"language": "en"}
    (made,) = [one["code"] for one in document(raw)["data"].values() if "code" in one]
    assert "hub" not in made
    arguments["load_dataset"] = {"language": "en", "token": "hf_very_secret"}
    (made,) = [one["code"] for one in document(raw)["data"].values() if "code" in one]
    assert made["hub"] is True
    assert "hf_very_secret" not in str(made)
