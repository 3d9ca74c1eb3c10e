"""What can be known about an artifact without an ML library."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.builder.build import check_shapes
from pipeline.builder.options import as_text, known_options, resolve
from pipeline.builder.params import ModelBuilderParams
from pipeline.checks.generation import GenerationParams
from pipeline.checks.latency import LatencyParams
from pipeline.checks.quality import QualityParams
from pipeline.contract.errors import StepError
from pipeline.evaluation.fluency import repetition
from pipeline.onnx.checkpoint import Checkpoint
from pipeline.onnx.consistency import answers_of_checkpoint, search_settings
from pipeline.onnx.genai_config import GenAiConfig
from pipeline.passes.generate import GenerateParams
from pipeline.verdicts.verdicts import limit_verdict, problem_verdict
from tests.support.checkpoints import checkpoint
from tests.support.safetensors_files import write_safetensors

BUILDER = """
def create_model(precision, **extra_options):
    size = extra_options.get("int4_block_size", 32)
    if "fuse_qkv" in extra_options and extra_options["hf_remote"]:
        extra_options.pop("_quant_config")
    return self.extra_options.get("prune_lm_head", False), other.get("not_an_option")
"""


@pytest.fixture
def old_builder(tmp_path: Path) -> Path:
    (tmp_path / "builder.py").write_text(BUILDER, "utf-8")
    return tmp_path


def test_options_are_those_the_builder_looks_up(old_builder: Path) -> None:
    expected = {"int4_block_size", "fuse_qkv", "hf_remote", "prune_lm_head"}
    assert known_options(old_builder) == expected


def test_options_get_the_name_that_the_builder_knows(old_builder: Path) -> None:
    known = known_options(old_builder)
    assert resolve({"block_size": "64"}, known) == {"int4_block_size": "64"}
    assert resolve({"block_size": "64"}, known | {"block_size"}) == {"block_size": "64"}


def test_every_ignored_option_is_named(old_builder: Path) -> None:
    with pytest.raises(StepError, match=r"fuse_qvk \(did you mean 'fuse_qkv'\?\), is_symmetric"):
        resolve({"fuse_qvk": "1", "is_symmetric": "true"}, known_options(old_builder))


def test_options_as_text() -> None:
    assert [as_text(value) for value in (True, 0.5, 3, "x")] == ["true", "0.5", "3", "x"]


def test_a_checkpoint_is_read_from_headers(tmp_path: Path) -> None:
    shapes = {
        "model.embed_tokens.weight": [100, 8],
        "model.norm.weight": [8],
        "model.layers.0.mlp.down_proj.weight": [8, 16],
        "lm_head.weight": [100, 8],
    }
    found = checkpoint(tmp_path, shapes, hidden_size=64, num_attention_heads=4, eos_token_id=7)
    assert found.linear_weights == 8 * 16 + 100 * 8
    assert found.head_size == 16
    assert found.end_ids == (7,)
    del shapes["lm_head.weight"]
    tied = checkpoint(tmp_path, shapes, tie_word_embeddings=True)
    assert tied.linear_weights == 8 * 16 + 100 * 8


def test_end_ids_of_the_generation_config_come_first(tmp_path: Path) -> None:
    found = checkpoint(tmp_path, {}, eos_token_id=2)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [5, 2]}', "utf-8")
    assert found.end_ids == (2, 5)


def test_a_layer_as_wide_as_the_vocabulary_is_refused(tmp_path: Path) -> None:
    shapes = {"model.layers.0.mlp.gate_up_proj.weight": [100, 8], "lm_head.weight": [100, 8]}
    with pytest.raises(StepError, match=r"gate_up_proj.* as many outputs as the vocabulary"):
        check_shapes(checkpoint(tmp_path, shapes, vocab_size=100))
    check_shapes(checkpoint(tmp_path, shapes, vocab_size=101))


def test_a_head_size_without_a_kernel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="size 24"):
        check_shapes(checkpoint(tmp_path, {"x": [1]}, hidden_size=96, num_attention_heads=4))


@pytest.mark.parametrize("content", [b"", b"\0" * 8, struct.pack("<Q", 5) + b"{nope"])
def test_broken_weights_are_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(StepError, match=r"model\.safetensors"):
        _ = Checkpoint(tmp_path).shapes


def test_repetition() -> None:
    assert repetition(list(range(40))) == 0
    assert repetition([1, 2] * 20) > 0.9
    assert repetition([1] * 10) == 0, "short answers repeat by chance"


def test_verdicts() -> None:
    assert problem_verdict("x", [], "fine").status == "passed"
    many = problem_verdict("x", [f"p{n}" for n in range(9)], "fine")
    assert (many.status, many.value) == ("failed", 9)
    assert "and 4 more" in many.detail
    assert limit_verdict("x", 1, "<=", None) is None
    for value, relation, status in (
        (1.0, "<=", "passed"),
        (1.1, "<=", "failed"),
        (1.0, ">=", "passed"),
        (0.9, ">=", "failed"),
        (float("nan"), "<=", "failed"),
        (float("nan"), ">=", "failed"),
    ):
        verdict = limit_verdict("x", value, "<=" if relation == "<=" else ">=", 1.0)
        assert verdict is not None
        assert verdict.status == status


def genai_config(folder: Path, **model: object) -> GenAiConfig:
    decoder = {
        "num_hidden_layers": 2,
        "filename": "model.onnx",
        "inputs": {"input_ids": "input_ids", "past_key_names": "past.%d.key"},
    }
    base = {"vocab_size": 100, "context_length": 64, "eos_token_id": [2, 5], "decoder": decoder}
    raw = {"model": {**base, **model}, "search": {"max_length": 64}}
    (folder / "genai_config.json").write_text(json.dumps(raw), "utf-8")
    return GenAiConfig(folder)


def test_config_names_are_filled_in_per_layer(tmp_path: Path) -> None:
    config = genai_config(tmp_path)
    assert config.names("inputs") == {"input_ids"}
    assert config.patterns("inputs") == (("past.0.key", "past.1.key"),)
    assert not search_settings(config)


def test_answers_are_chosen_as_the_checkpoints(tmp_path: Path) -> None:
    source = checkpoint(tmp_path, {})
    (tmp_path / "generation_config.json").write_text('{"repetition_penalty": 1.1}', "utf-8")
    config = genai_config(tmp_path)
    greedy = {"do_sample": False, "num_beams": 1, "num_return_sequences": 1, "min_length": 0}
    right = {**greedy, "no_repeat_ngram_size": 0, "repetition_penalty": 1.1}
    config.raw["search"].update(right)
    assert answers_of_checkpoint(config, source, {}) == []
    config.raw["search"]["repetition_penalty"] = 1.0
    (problem,) = answers_of_checkpoint(config, source, {})
    assert problem == "search.repetition_penalty is 1.0, the checkpoint is asked with 1.1"
    assert answers_of_checkpoint(config, source, {"repetition_penalty": 1.0}) == []
    config.raw["search"].pop("do_sample")
    assert len(answers_of_checkpoint(config, source, {"repetition_penalty": 1.0})) == 1


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        ({"eos_token_id": []}, "never ends"),
        ({"eos_token_id": 100}, "eos_token_id 100 is not a token"),
        ({"bos_token_id": -1}, "bos_token_id -1"),
        ({"context_length": 32}, "exceeds the context"),
    ],
)
def test_search_settings_that_cannot_work(
    tmp_path: Path, model: dict[str, object], problem: str
) -> None:
    assert problem in "; ".join(search_settings(genai_config(tmp_path, **model)))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model": {}}'])
def test_a_broken_config_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "genai_config.json").write_text(text, "utf-8")
    with pytest.raises(ValueError, match="genai_config"):
        GenAiConfig(tmp_path)


@pytest.mark.parametrize(
    ("model", "params", "message"),
    [
        (ModelBuilderParams, {"precision": "fp32", "block_size": 64}, "block_size"),
        (ModelBuilderParams, {"block_size": 48}, "block_size"),
        (
            ModelBuilderParams,
            {"algorithm": "rtn_last", "mixed_precision": {"last_matmul": "int8"}},
            "mixed_precision",
        ),
        (ModelBuilderParams, {"nodes_to_exclude": ["/a,/b"]}, "one node name"),
        (GenerateParams, {}, "none of them"),
        (GenerateParams, {"text": "a", "prompt": "b"}, "text and prompt"),
        (LatencyParams, {"samples": 63}, "64"),
        (LatencyParams, {"token_ms": 0}, "greater than 0"),
        (LatencyParams, {"prompts": [" "]}, "empty prompt"),
        (QualityParams, {"min_valid": 1.5}, "less than or equal to 1"),
        (GenerationParams, {"min_ended": -0.1}, "greater than or equal to 0"),
    ],
)
def test_parameters_that_contradict_are_refused(
    model: type[QualityParams], params: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        model.model_validate(params)


@pytest.mark.parametrize(
    ("said", "names", "count"),
    [
        ({}, ("model.embed_tokens.weight",), 6),
        ({}, ("model.embed_tokens.weight", "lm_head.weight"), 6),
        ({"tie_word_embeddings": True}, ("model.embed_tokens.weight",), 6),
        ({"tie_word_embeddings": False}, ("model.embed_tokens.weight",), 0),
    ],
)
def test_an_output_layer_that_is_not_stored_is_the_embedding(
    tmp_path: Path, said: dict[str, bool], names: tuple[str, ...], count: int
) -> None:
    """As in Gemma and LFM2, whose configs leave it to the default of their classes."""
    (tmp_path / "config.json").write_text(json.dumps(said), "utf-8")
    rows = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    write_safetensors(tmp_path / "model.safetensors", dict.fromkeys(names, rows))
    assert Checkpoint(tmp_path).linear_weights == count
