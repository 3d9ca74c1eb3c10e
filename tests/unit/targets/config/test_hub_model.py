"""A model on a hub is looked at before it is fetched: by a real client, from a server here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from targets.cache import Cache
from targets.errors import ConfigError
from tests.support.gguf_files import write_llama
from tests.support.hub_stand_in import COMMIT, TOKEN, hub
from tests.support.planning import make_planner
from tests.support.project import Project, make_project
from tests.support.safetensors_files import write_index, write_safetensors

LARGE = [[0.5] * 1000] * 600
"""A tensor of 2.4 million bytes."""

Files = dict[str, bytes]


@pytest.fixture(autouse=True)
def client(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = make_project(tmp_path / "project")
    project.edit(
        '[model.pretrain]\ntext = "story.txt"', f'[model]\nsource = "hf:org/name@{COMMIT}"'
    )
    return project


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Return a model in two files of weights, and others that no one needs to see."""
    folder = tmp_path / "model"
    folder.mkdir()
    parts = {
        "model-1.safetensors": {"model.embed_tokens.weight": LARGE, "lm_head.weight": LARGE},
        "model-2.safetensors": {"model.layers.0.self_attn.q_proj.weight": LARGE},
    }
    for name, tensors in parts.items():
        write_safetensors(folder / name, tensors)
    write_index(folder, {tensor: name for name, tensors in parts.items() for tensor in tensors})
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    tokenizer = {"added_tokens": [{"id": 0, "content": "<end>"}]}
    texts = {
        "config.json": json.dumps(config),
        "tokenizer.json": json.dumps(tokenizer),
        "tokenizer_config.json": json.dumps({"eos_token": "<end>"}),
        "../outside": "a name that no repository has",
        "README.md": "x" * 100_000,
    }
    weights = {path.name: path.read_bytes() for path in folder.iterdir()}
    return {**weights, **{name: text.encode() for name, text in texts.items()}}


def plan(
    project: Project, cache: Cache, files: Files, monkeypatch: pytest.MonkeyPatch
) -> tuple[tuple[str, ...], int]:
    """Plan with a hub that has ``files``; return the notes, and the bytes that it sent."""
    sent: list[int] = []
    with hub("org/name", files, "model", sent) as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        notes = make_planner(project, cache).plan().notes
    return notes, sum(sent)


def refused(
    project: Project, cache: Cache, files: Files, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[str, int | None, str]]:
    with pytest.raises(ConfigError) as caught:
        plan(project, cache, files, monkeypatch)
    assert {problem.file for problem in caught.value.problems} == {project.config}
    return [(problem.key, problem.line, problem.message) for problem in caught.value.problems]


def test_a_sound_one_costs_its_headers_once(
    project: Project, cache: Cache, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes, sent = plan(project, cache, files, monkeypatch)
    assert not any("org/name" in note for note in notes)
    # One part of each of two files of weights, of 7.2 million bytes.
    assert 2 << 20 < sent < (2 << 20) + 10_000
    assert plan(project, cache, files, monkeypatch) == (notes, 0)
    assert not [*cache.root.rglob("*outside")]


def with_an_adapter(files: Files) -> None:
    files["adapter_config.json"] = b"{}"


def quantized(files: Files) -> None:
    config = {"model_type": "llama", "quantization_config": {"quant_method": "gptq"}}
    files["config.json"] = json.dumps(config).encode()


def unknown_to_the_builder(files: Files) -> None:
    config = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}
    files["config.json"] = json.dumps(config).encode()


def pickled(files: Files) -> None:
    for name in [name for name in files if "safetensors" in name]:
        del files[name]
    files["pytorch_model.bin"] = b"\x80"


def without_a_shard(files: Files) -> None:
    del files["model-2.safetensors"]


def with_an_empty_index(files: Files) -> None:
    files["model.safetensors.index.json"] = b'{"weight_map": {}}'


def cut_short(files: Files) -> None:
    files["model-2.safetensors"] = files["model-2.safetensors"][:-1]


def with_a_lying_length(files: Files) -> None:
    files["model-1.safetensors"] = b"\xff" * 8 + files["model-1.safetensors"][8:]


def another_token(files: Files) -> None:
    files["tokenizer.json"] = json.dumps(
        {"added_tokens": [{"id": 600, "content": "<end>"}]}
    ).encode()


def without_a_tokenizer(files: Files) -> None:
    del files["tokenizer.json"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (with_an_adapter, "it holds an adapter"),
        (quantized, "its weights are quantized already (gptq)"),
        (unknown_to_the_builder, "the model builder cannot build GPT2LMHeadModel"),
        (pickled, "org/name has no safetensors weights"),
        (without_a_shard, "weight shards are missing: model-2.safetensors"),
        (with_an_empty_index, "names no tensor"),
        (cut_short, "model-2.safetensors is cut short"),
        (with_a_lying_length, "model-1.safetensors is not a safetensors file"),
        (another_token, "its eos_token '<end>' has the id 600, but the model has 600 tokens"),
        (without_a_tokenizer, "it holds no tokenizer"),
    ],
)
def test_what_would_show_after_the_download_is_said_before(
    project: Project,
    cache: Cache,
    files: Files,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[Files], None],
    message: str,
) -> None:
    fault(files)
    (only,) = refused(project, cache, files, monkeypatch)
    assert only[:2] == ("model.source", 4)
    assert message in only[2]


def test_layers_that_it_does_not_have_are_named_beside_their_key(
    project: Project, cache: Cache, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.edit("[passes.lora]", '[passes.lora]\ntarget_modules = ["qkv_proj"]')
    (only,) = refused(project, cache, files, monkeypatch)
    assert (only[0], only[2]) == ("passes.lora.target_modules", "there is no qkv_proj")


def test_a_hub_that_cannot_be_reached_is_a_note(
    project: Project, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://me:secret@127.0.0.1:9")
    notes = make_planner(project, cache).plan().notes
    (note,) = [note for note in notes if "org/name" in note]
    assert "could not be looked at before it is fetched" in note
    assert "secret" not in note


@pytest.mark.parametrize("answer", [b"[]", b"{}", b'{"siblings": 3}', b"[" * 100_000, b"\xff"])
def test_an_answer_that_is_none_is_a_note(
    project: Project, cache: Cache, files: Files, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    with hub("org/name", files, "model", listing=answer) as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        notes = make_planner(project, cache).plan().notes
    assert any("could not be looked at" in note for note in notes)


class TestGguf:
    @pytest.fixture
    def gguf(self, project: Project, tmp_path: Path) -> Callable[..., Files]:
        project.edit(f'@{COMMIT}"', f'@{COMMIT}"\nfile = "small.gguf"')

        def made(**changes: str) -> Files:
            metadata = {key.replace("__", "."): value for key, value in changes.items()}
            return {"small.gguf": write_llama(tmp_path / "small.gguf", metadata).read_bytes()}

        return made

    def test_a_sound_one_is_planned(
        self,
        project: Project,
        cache: Cache,
        gguf: Callable[..., Files],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        notes, _ = plan(project, cache, gguf(), monkeypatch)
        assert not any("looked at" in note for note in notes)

    def test_one_that_cannot_be_read_is_refused(
        self,
        project: Project,
        cache: Cache,
        gguf: Callable[..., Files],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        files = gguf(llama__rope__scaling__type="yarn")
        (only,) = refused(project, cache, files, monkeypatch)
        assert only[0] == "model.file"
        assert "small.gguf cannot be used" in only[2]

    def test_one_that_is_not_there_is_refused(
        self,
        project: Project,
        cache: Cache,
        gguf: Callable[..., Files],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        files = {"other.gguf": gguf()["small.gguf"]}
        (only,) = refused(project, cache, files, monkeypatch)
        assert "org/name has no file small.gguf" in only[2]
