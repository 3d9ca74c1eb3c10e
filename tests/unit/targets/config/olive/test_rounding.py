"""Olive's passes that round weights with data, before ModelBuilder."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from targets.config.olive.ledger import State, leaves
from tests.support.olive_files import document, read_olive_file, refusals, state, translated


def rounded(options: dict[str, Any], kind: str = "Gptq") -> dict[str, Any]:
    """Return the tutorial's file with a pass that rounds before ModelBuilder."""
    raw: dict[str, Any] = copy.deepcopy(read_olive_file("tutorial.json"))
    builder = raw["passes"].pop("builder")
    raw["passes"]["round"] = {"type": kind, "config": options}
    raw["passes"]["builder"] = builder
    return raw


def test_it_becomes_gptq_with_olives_numbers() -> None:
    raw = rounded({"bits": 4, "group_size": 32, "sym": True, "damp_percent": 0.02})
    made = document(raw)
    assert made["passes"]["round"] == {
        "type": "gptq",
        "precision": "int4",
        "block_size": 32,
        "symmetric": True,
        "damping": 0.02,
    }
    assert made["passes"]["builder"]["block_size"] == 32
    assert list(made["passes"]) == ["lora", "merge_adapter_weights", "round", "builder"]
    entries = [entry.path for entry in translated(raw).ledger.entries]
    assert sorted(map(str, entries)) == sorted(str(path) for path, _ in leaves(raw, ()))


def test_what_a_file_leaves_open_is_olives_default() -> None:
    made = document(rounded({}))["passes"]
    assert (made["round"]["block_size"], made["builder"]["block_size"]) == (128, 128)
    assert (made["round"]["symmetric"], made["round"]["damping"]) == (False, 0.01)
    made = document(rounded({"group_size": 64}, "GptqModel"))["passes"]
    assert (made["round"]["symmetric"], made["round"]["damping"]) == (True, 0.05)


def test_what_is_done_otherwise_says_so() -> None:
    found = translated(rounded({"desc_act": False, "lm_head": True, "dynamic": {}}))
    for name in ("desc_act", "lm_head"):
        said, why = state(found, "passes", "round", "config", name)
        assert said is State.NO_EFFECT
        assert why


@pytest.mark.parametrize(
    ("options", "key", "said"),
    [
        ({"group_size": -1}, "group_size", "one scale for a whole row"),
        ({"bits": 2}, "bits", "4 or 8 bits"),
        ({"overrides": {"model.layers.0": {"bits": 8}}}, "overrides", "another width"),
        ({"frobnicate": 1}, "frobnicate", ""),
    ],
)
def test_what_cannot_be_done_is_refused(options: dict[str, Any], key: str, said: str) -> None:
    found = refusals(rounded(options))
    (refused,) = [text for path, text in found.items() if f".config.{key}" in path]
    assert said in refused


def test_the_data_are_those_that_the_build_trains_on() -> None:
    assert refusals(rounded({"data_config": "dataset_default_train"})) == {}
    raw = rounded({"data_config": "another"})
    raw["data_configs"].append({**raw["data_configs"][0], "name": "another"})
    assert "one build trains on one data set" in str(refusals(raw))


def test_without_data_it_looks_at_what_comes_with_quern() -> None:
    raw = rounded({})
    for name in ("lora", "merge_adapter_weights"):
        del raw["passes"][name]
    assert refusals(raw) == {}
    assert "plain English" in translated(raw).ledger.defaults["passes.round"]
