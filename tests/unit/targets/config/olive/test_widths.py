"""What Olive's recipes round with before ModelBuilder: some matrices in 8 bits, and Rtn."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from targets.config.documents import read_documents
from targets.config.load import load_document
from targets.config.olive.ledger import State, leaves
from targets.target import load_target
from tests.support.olive_files import document, refusals, state, translated

HEAD_AND_EMBEDDING = {"lm_head": {"bits": 8}, "model.embed_tokens": {"bits": 8}}
MEASURED = {
    "type": "SelectiveMixedPrecision",
    "algorithm": "kld_gradient",
    "bits": 4,
    "high_bits": 8,
    "ratio": 0.65,
    "sym": False,
    "group_size": 128,
}
GPTQ = {"type": "gptq", "bits": 4, "sym": False, "group_size": 128}
REST = {
    "type": "rtn",
    "bits": 8,
    "sym": False,
    "group_size": 128,
    "lm_head": True,
    "embeds": True,
    "overrides": HEAD_AND_EMBEDDING,
}
BUILDER = {"type": "ModelBuilder", "precision": "int4"}
TIES = {"type": "GraphSurgeries", "surgeries": [{"surgeon": "TieWordEmbeddings"}]}


def recipe(**passes: Any) -> dict[str, Any]:
    """Return a file of passes alone, as public recipes are."""
    return {
        "input_model": {
            "type": "HfModel",
            "model_path": "org/name",
            "load_kwargs": {"torch_dtype": "float16"},
        },
        "systems": {
            "local_system": {
                "type": "LocalSystem",
                "accelerators": [
                    {"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}
                ],
            }
        },
        "passes": copy.deepcopy(passes),
        "target": "local_system",
        "log_severity_level": 0,
        "output_dir": "model",
        "cache_dir": "cache",
        "no_artifacts": True,
    }


def test_the_public_recipes_shape_becomes_a_chain() -> None:
    raw = recipe(s=MEASURED, g=GPTQ, r=REST, m=BUILDER, t=TIES)
    made = document(raw)
    assert made["passes"] == {
        "s": {
            "type": "mixed_precision",
            "choose": "sensitivity",
            "int8_share": 0.35,
            "block_size": 128,
            "output_layer": "int8",
        },
        "g": {
            "type": "gptq",
            "precision": "int4",
            "block_size": 128,
            "symmetric": False,
            "damping": 0.01,
        },
        "m": {
            "type": "model_builder",
            "precision": "int4",
            "algorithm": "rtn",
            "block_size": 128,
            "symmetric": False,
            "embedding": "int8",
            "shared_embeddings": True,
        },
    }
    assert not made.get("data")
    entries = [entry.path for entry in translated(raw).ledger.entries]
    assert sorted(map(str, entries)) == sorted(str(path) for path, _ in leaves(raw, ()))


def test_such_a_file_can_be_built(tmp_path: Path) -> None:
    file = tmp_path / "olive-config.json"
    raw = recipe(s=MEASURED, g=GPTQ, r=REST, m=BUILDER)
    raw["input_model"]["load_kwargs"]["revision"] = "0" * 40
    file.write_text(json.dumps(raw), "utf-8")
    (read,) = read_documents(file, None)
    loaded = load_document(file, read, [load_target("cpu")])
    assert [call.type_name for call in loaded.chains["cpu"].passes] == [
        "mixed_precision",
        "gptq",
        "model_builder",
    ]


@pytest.mark.parametrize("rule", ["k_quant_last", "k_quant_down", "k_quant_mixed"])
def test_a_rule_is_the_same_rule(rule: str) -> None:
    chosen = {"type": "SelectiveMixedPrecision", "algorithm": rule}
    made = document(recipe(s=chosen, g=GPTQ, r=REST, m=BUILDER))["passes"]
    assert made["s"] == {"type": "mixed_precision", "choose": rule}
    assert "mixed_precision" not in made["m"]  # the rule keeps the output layer in int8 anyway


def test_rtn_after_gptq_is_about_what_that_leaves() -> None:
    made = document(recipe(g=GPTQ, r=REST, m=BUILDER))["passes"]
    assert made["g"]["precision"] == made["m"]["precision"] == "int4"
    assert made["m"]["mixed_precision"] == {"last_matmul": "int8"}
    assert made["m"]["embedding"] == "int8"


def test_rtn_alone_is_how_the_builder_rounds() -> None:
    made = document(recipe(r={"type": "Rtn"}, m=BUILDER))["passes"]
    assert made == {
        "m": {
            "type": "model_builder",
            "precision": "int4",
            "algorithm": "rtn",
            "block_size": 128,
            "symmetric": False,
        }
    }
    rounded = {"type": "Rtn", "bits": 8, "sym": True, "group_size": 32}
    made = document(recipe(r=rounded, m=BUILDER))["passes"]["m"]
    assert (made["precision"], made["symmetric"], made["block_size"]) == ("int8", True, 32)


def test_zero_points_are_stored_where_one_of_both_has_them() -> None:
    symmetric = {**GPTQ, "sym": True}
    for first, second, stored in ((GPTQ, True, False), (symmetric, False, False)):
        made = document(recipe(g=first, r={**REST, "sym": second}, m=BUILDER))["passes"]["m"]
        assert made["symmetric"] is stored
    made = document(recipe(g=symmetric, r={**REST, "sym": True}, m=BUILDER))["passes"]["m"]
    assert made["symmetric"] is True


def test_what_olive_optimize_writes_needs_no_data() -> None:
    """The passes of ``olive optimize --precision int4`` for a model of the hub (Olive 0.13,
    ``olive/cli/optimize.py``)."""
    builder = {
        **BUILDER,
        "int4_block_size": 128,
        "int4_accuracy_level": 4,
        "int4_op_types_to_quantize": ["MatMul", "Gather"],
        "extra_options": {},
    }
    raw = recipe(gptq={"type": "Gptq", "bits": 4, "sym": True}, model_builder=builder)
    raw["data_configs"] = []
    made = document(raw)["passes"]
    assert made["gptq"]["symmetric"] is True
    assert made["model_builder"]["block_size"] == 128
    assert "plain English" in translated(raw).ledger.defaults["passes.gptq"]


def test_the_same_tie_is_made_of_a_model_in_floats() -> None:
    made = document(recipe(m={"type": "ModelBuilder", "precision": "fp32"}, t=TIES))["passes"]
    assert made == {"m": {"type": "model_builder", "precision": "fp32", "shared_embeddings": True}}


def test_extracting_without_an_adapter_has_no_effect() -> None:
    raw = recipe(m=BUILDER, e={"type": "ExtractAdapters"})
    assert list(document(raw)["passes"]) == ["m"]
    assert state(translated(raw), "passes", "e", "type")[0] is State.NO_EFFECT


@pytest.mark.parametrize(
    ("passes", "key", "said"),
    [
        ({"s": {**MEASURED, "ratio": 1.5}}, "s.ratio", "no share between 0 and 1"),
        ({"s": {**MEASURED, "ratio": None}}, "s", "ratio is missing"),
        ({"s": {**MEASURED, "bits": 2}}, "s.bits", "4 and of 8 bits"),
        ({"s": {**MEASURED, "high_bits": 16}}, "s.high_bits", "4 and of 8 bits"),
        ({"s": {**MEASURED, "high_group_size": 32}}, "s.high_group_size", "blocks of one size"),
        ({"s": {**MEASURED, "algorithm": "best"}}, "s.algorithm", "no such algorithm"),
        ({"r": {**REST, "overrides": {"model.layers.0": {"bits": 8}}}}, "model.layers.0.bits", ""),
        ({"r": {**REST, "group_size": -1}}, "r.group_size", "one scale for a whole row"),
        ({"r": {**REST, "bits": 2}}, "r.bits", "4 or 8 bits"),
        ({"r": {**REST, "moe": True}}, "r.moe", "experts"),
        ({"r": {**REST, "modules_to_not_convert": ["x"]}}, "r.modules_to_not_convert", "floats"),
        ({"g": {**GPTQ, "group_size": 32}, "r": REST}, "r.type", "say it alike in both"),
    ],
)
def test_what_cannot_be_done_is_refused(passes: dict[str, Any], key: str, said: str) -> None:
    found = refusals(recipe(**passes, m=BUILDER))
    (refused,) = [text for path, text in found.items() if path.endswith(key)]
    assert said in refused


def test_another_surgery_and_rounding_that_nothing_writes_are_refused() -> None:
    other = {"type": "GraphSurgeries", "surgeries": [{"surgeon": "RemoveRopeMultiCache"}]}
    assert "passes.t.type" in refusals(recipe(m=BUILDER, t=other))
    assert "passes.r.type" in refusals(recipe(r=REST))
