"""What a GGUF file becomes: numbers of the formats' definitions, ids of another tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.gguf.formats import FORMATS
from pipeline.gguf.support import ARCHITECTURES
from tests.support.gguf_files import TOKENS
from tests.support.warm_process import warm_output


def run(python: Path, script: str, folder: Path) -> dict[str, Any]:
    """Run a script of `tests/support/` in the toolchain, and return the JSON that it prints."""
    said = warm_output(python, f"tests.support.{script}", folder)
    result: dict[str, Any] = json.loads(said.splitlines()[-1])
    return result


@pytest.fixture(scope="module")
def found(toolchain_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run(toolchain_python, "gguf_values", tmp_path_factory.mktemp("values"))


@pytest.fixture(scope="module")
def families(toolchain_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run(toolchain_python, "gguf_families", tmp_path_factory.mktemp("families"))


def test_weights_are_the_numbers_that_the_blocks_stand_for(found: dict[str, Any]) -> None:
    assert found["names"]
    assert found["unequal"] == []
    assert found["dtypes"] == ["float32"]
    assert (found["facts"]["architecture"], found["facts"]["format"]) == ("llama", "Q4_1")


def test_text_has_the_ids_that_llama_cpps_expressions_give(found: dict[str, Any]) -> None:
    assert found["ids"] == found["own_ids"]
    assert found["decoded"][0] == found["texts"][0]
    assert TOKENS.index("12") not in found["ids"][1]


def test_settings_are_the_files(found: dict[str, Any]) -> None:
    assert found["chat"] == "<|user|>hello<|end|><|bot|>"
    assert found["rope_theta"] == 50000
    assert found["ends"] == [0, 2]
    assert found["config"] == {
        "vocab_size": len(TOKENS),
        "rms_norm_eps": pytest.approx(1e-5),
        "tie_word_embeddings": True,
        "eos_token_id": [0, 2],
    }


def test_tables_are_those_of_the_libraries(found: dict[str, Any]) -> None:
    assert all(found["formats"].values()), found["formats"]
    assert all(found["architectures"])
    # GPT-2's expression is transformers' default; that of SmolLM is made here.
    assert found["splits"] == ["gpt-2", "smollm"]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_architecture_is_the_model_that_was_written(
    families: dict[str, Any], name: str
) -> None:
    assert families[name]["difference"] < 1e-5


@pytest.mark.parametrize("name", ["llama", "phi3", "unspaced"])
def test_a_vocabulary_with_scores_joins_the_best_first(families: dict[str, Any], name: str) -> None:
    assert families[name]["ids"] == families[name]["joined"]


def test_blocks_of_every_format_are_the_numbers_that_gguf_makes_of_them(
    families: dict[str, Any],
) -> None:
    found = families["blocks"]
    assert found["formats"] == sorted(form.name for form in FORMATS.values())
    assert found["unequal"] == []
    assert found["otherwise"] == []
