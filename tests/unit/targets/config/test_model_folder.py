"""A model folder that contradicts itself is refused in the plan, with what to do about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.training.lora_params import LoraParams
from targets.config.load import load_config
from targets.config.model_folder import adapter_problems, folder_with_links, model_folder_problems
from targets.errors import ConfigError
from targets.target import load_target
from tests.support.project import Project, make_project
from tests.support.safetensors_files import write_index, write_safetensors

EMBEDDING = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
OTHER = [[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return the folder of a model of three tokens."""
    folder = tmp_path / "model"
    folder.mkdir()
    write_json(folder / "config.json", {"model_type": "llama", "tie_word_embeddings": False})
    write_safetensors(
        folder / "model.safetensors",
        {"model.embed_tokens.weight": EMBEDDING, "lm_head.weight": OTHER},
    )
    tokens = [{"id": 0, "content": "<end>"}, {"id": 2, "content": "<pad>"}]
    write_json(folder / "tokenizer.json", {"added_tokens": tokens})
    write_json(folder / "tokenizer_config.json", {"eos_token": "<end>", "pad_token": "<pad>"})
    return folder


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), "utf-8")


def said(folder: Path) -> list[str]:
    return [message for message, _ in model_folder_problems(folder, "safetensors")]


def test_a_model_without_faults_has_no_problem(model: Path) -> None:
    assert said(model) == []


def tied(model: Path) -> None:
    write_json(model / "config.json", {"model_type": "llama", "tie_word_embeddings": True})


def another_token(model: Path) -> None:
    tokens = [{"id": 0, "content": "<end>"}, {"id": 3, "content": "<pad>"}]
    write_json(model / "tokenizer.json", {"added_tokens": tokens})


def a_token_as_table(model: Path) -> None:
    another_token(model)
    write_json(model / "tokenizer_config.json", {"pad_token": {"content": "<pad>"}})


def quantized(by: str | None) -> Callable[[Path], None]:
    def fault(model: Path) -> None:
        how = {"bits": 4} if by is None else {"quant_method": by, "bits": 4}
        write_json(model / "config.json", {"model_type": "llama", "quantization_config": how})

    return fault


def with_an_adapter(model: Path) -> None:
    write_json(model / "adapter_config.json", {"peft_type": "LORA"})


def sentencepiece_alone(model: Path) -> None:
    (model / "tokenizer.json").rename(model / "tokenizer.model")


def linked_to_nothing(model: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "model.safetensors").symlink_to("../../blobs/0123")


def cut_short(model: Path) -> None:
    content = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(content[:-1])


def of_mistrals_kind_alone(model: Path) -> None:
    (model / "model.safetensors").rename(model / "consolidated.safetensors")


def with_an_empty_index(model: Path) -> None:
    (model / "model.safetensors").unlink()
    write_index(model, {})


def with_an_index_of_nothing(model: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "model.safetensors.index.json").write_text("{}", "utf-8")


def with_pictures_in_its_text_config(model: Path) -> None:
    # As Qwen2.5-VL is on the hub.
    config = {"model_type": "qwen2_5_vl", "architectures": ["Qwen2_5_VLForConditionalGeneration"]}
    write_json(model / "config.json", {**config, "vision_config": {"depth": 2}, "text_config": {}})


def with_images(model: Path) -> None:
    config = {"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"]}
    write_json(model / "config.json", {**config, "vision_config": {"hidden_size": 8}})


def with_an_encoder_too(model: Path) -> None:
    config = {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}
    write_json(model / "config.json", {**config, "is_encoder_decoder": True})


def an_encoder(model: Path) -> None:
    write_json(model / "config.json", {"model_type": "bert", "architectures": ["BertForMaskedLM"]})


def a_classifier(model: Path) -> None:
    config = {"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]}
    write_json(model / "config.json", config)


def without_a_head(model: Path) -> None:
    write_json(model / "config.json", {"model_type": "llama", "architectures": ["LlamaModel"]})


def a_config_that_is_a_list(model: Path) -> None:
    write_json(model / "config.json", [])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (tied, "but model.safetensors holds another lm_head.weight"),
        (another_token, "its pad_token '<pad>' has the id 3, but the model has 3 tokens"),
        (a_token_as_table, "its pad_token '<pad>' has the id 3, but the model has 3 tokens"),
        (quantized("gptq"), "its weights are quantized already (gptq)"),
        (quantized("awq"), "its weights are quantized already (awq)"),
        (quantized("fp8"), "its weights are quantized already (fp8)"),
        (quantized("bitsandbytes"), "its weights are quantized already (bitsandbytes)"),
        (quantized(None), "its weights are quantized already (quantization_config)"),
        (with_an_adapter, "it holds an adapter"),
        (sentencepiece_alone, "as tokenizer.model alone"),
        (linked_to_nothing, "its links lead nowhere: model.safetensors"),
        (cut_short, "model.safetensors is cut short"),
        (of_mistrals_kind_alone, "no weights that transformers loads, only consolidated"),
        (with_an_empty_index, "model.safetensors.index.json names no tensor"),
        (with_an_index_of_nothing, "model.safetensors.index.json"),
        (
            with_images,
            "Gemma3ForConditionalGeneration takes more than text: it has a vision_config",
        ),
        (with_pictures_in_its_text_config, "takes more than text: it has a vision_config"),
        (with_an_encoder_too, "T5ForConditionalGeneration has an encoder and a decoder"),
        (an_encoder, "BertForMaskedLM is no causal language model"),
        (a_classifier, "LlamaForSequenceClassification is no causal language model"),
        (without_a_head, "LlamaModel is no causal language model"),
        (a_config_that_is_a_list, "its config.json is not a JSON object"),
    ],
)
def test_each_fault_is_said(model: Path, fault: Callable[[Path], None], message: str) -> None:
    fault(model)
    (found,) = said(model)
    assert message in found


def test_a_head_that_is_the_embedding_is_no_contradiction(model: Path) -> None:
    tied(model)
    tensors = {"model.embed_tokens.weight": EMBEDDING, "lm_head.weight": EMBEDDING}
    write_safetensors(model / "model.safetensors", tensors)
    assert said(model) == []


def test_a_token_beyond_the_model_that_nothing_uses_is_no_fault(model: Path) -> None:
    # As in Gemma 3: the tokenizer knows a token for images that the text model does not have.
    tokens = [{"id": 0, "content": "<end>"}, {"id": 2, "content": "<pad>"}]
    write_json(
        model / "tokenizer.json", {"added_tokens": [*tokens, {"id": 3, "content": "<image>"}]}
    )
    assert said(model) == []


def test_links_out_of_the_folder_are_refused_but_in_the_hubs_cache(
    model: Path, tmp_path: Path
) -> None:
    repository = tmp_path / "models--org--name"
    blob = repository / "blobs" / "0123"
    blob.parent.mkdir(parents=True)
    (model / "model.safetensors").rename(blob)
    (model / "model.safetensors").symlink_to(blob)
    (found,) = said(model)
    assert "its links lead out of it, where no container sees: model.safetensors" in found
    snapshot = repository / "snapshots" / "abcd"
    snapshot.parent.mkdir()
    model.rename(snapshot)
    assert said(snapshot) == []
    assert folder_with_links(snapshot) == repository


def test_layers_that_the_model_does_not_have_are_named(model: Path) -> None:
    tensors = {
        "model.embed_tokens.weight": EMBEDDING,
        "model.layers.0.self_attn.q_proj.weight": OTHER,
        "model.layers.0.mlp.down_proj.weight": OTHER,
    }
    write_safetensors(model / "model.safetensors", tensors)
    shape = LoraParams(target_modules=("qkv_proj", "down_proj"), exclude_modules=".*up_proj")
    there = "linear layers of this model: down_proj, q_proj"
    assert [*adapter_problems(model, shape)] == [
        ("target_modules", "there is no qkv_proj", there),
        ("exclude_modules", "'.*up_proj' matches no layer", there),
    ]
    for fine in (
        LoraParams(),
        LoraParams(target_modules="auto"),
        LoraParams(target_modules=("q_proj",)),
        LoraParams(target_modules=r".*\.mlp\.\w+"),
        LoraParams(target_modules=("mlp.down_proj",)),
    ):
        assert not [*adapter_problems(model, fine)]


def test_the_experts_of_a_mixture_are_not_judged_by_their_files(model: Path) -> None:
    write_json(model / "config.json", {"model_type": "mixtral", "num_local_experts": 8})
    assert not [*adapter_problems(model, LoraParams(target_modules=("gate_up_proj",)))]


@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "GPT2LMHeadModel", "ChatGLMModel"])
def test_a_causal_language_model_goes_by_several_names(model: Path, architecture: str) -> None:
    write_json(model / "config.json", {"model_type": "llama", "architectures": [architecture]})
    assert said(model) == []


def test_the_plan_says_what_a_targets_builder_cannot_build(project: Project, model: Path) -> None:
    project.edit('[model.pretrain]\ntext = "story.txt"', f'model = "{model}"')
    config = {"model_type": "lfm2", "architectures": ["Lfm2ForCausalLM"]}
    write_json(model / "config.json", config)
    assert load_config(project.config, [load_target("cpu")])
    with pytest.raises(ConfigError) as refused:
        load_config(project.config, [load_target("cpu"), load_target("directml")])
    (problem,) = refused.value.problems
    assert problem.key == "model.source"
    assert problem.message == "directml: the model builder cannot build Lfm2ForCausalLM"


def test_the_plan_says_what_a_builder_would_build_wrongly(project: Project, model: Path) -> None:
    project.edit('[model.pretrain]\ntext = "story.txt"', f'model = "{model}"')
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 3}
    write_json(model / "config.json", {**config, "hidden_size": 48, "num_attention_heads": 2})
    tensors = {
        "model.embed_tokens.weight": EMBEDDING,
        "model.layers.0.mlp.up_proj.weight": OTHER,
        "lm_head.weight": OTHER,
    }
    write_safetensors(model / "model.safetensors", tensors)
    with pytest.raises(ConfigError) as refused:
        load_config(project.config, [load_target("cpu")])
    wide, heads = refused.value.problems
    assert {wide.key, heads.key} == {"model.source"}
    assert "up_proj.weight has as many outputs as the vocabulary has tokens (3)" in wide.message
    assert "attention heads have size 24" in heads.message


def test_the_plan_says_so_beside_the_key(project: Project, model: Path) -> None:
    project.edit('[model.pretrain]\ntext = "story.txt"', f'model = "{model}"')
    project.edit("[passes.lora]", '[passes.lora]\ntarget_modules = ["qkv_proj"]')
    with pytest.raises(ConfigError) as refused:
        load_config(project.config, [load_target("cpu")])
    (problem,) = refused.value.problems
    assert (problem.key, problem.message) == (
        "passes.lora.target_modules",
        "there is no qkv_proj",
    )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project")
