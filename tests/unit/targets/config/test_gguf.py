"""A GGUF file as the base model: planned, described, and refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.contract.errors import StepError
from pipeline.contract.plan import StepInput
from pipeline.training.base_params import FetchParams
from pipeline.training.hub import chosen_files
from targets.cache import Cache
from targets.config.load import Overrides, load_config
from targets.errors import ConfigError
from targets.planner.disk_space import disk_space
from targets.target import load_target
from tests.support.gguf_files import write_llama
from tests.support.planning import build, make_planner, replan
from tests.support.project import Project, make_project

PRETRAINED = '[model.pretrain]\ntext = "story.txt"'
COMMIT = "a" * 40


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = make_project(tmp_path / "project")
    project.edit(PRETRAINED, '[model]\nsource = "tiny.gguf"')
    write_llama(project.folder / "tiny.gguf")
    return project


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def problems(project: Project) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(project.config, [load_target("cpu")])
    return [f"{problem.line}: {problem.message}" for problem in caught.value.problems]


def test_it_becomes_a_checkpoint_first(project: Project, cache: Cache) -> None:
    plan = make_planner(project, cache).plan()
    assert plan.steps[0].step.name == "import_gguf"
    model = plan["lora"].step.inputs["model"]
    assert isinstance(model, StepInput)
    assert model.step == "import_gguf"
    assert any("went through 4 bits once (GGUF, Q4_1)" in note for note in plan.notes)
    assert disk_space(plan).unknown == ()


def test_only_its_bytes_are_in_the_key(project: Project, cache: Cache) -> None:
    build(project, cache)
    (project.folder / "tiny.gguf").rename(project.folder / "other.gguf")
    project.edit("tiny.gguf", "other.gguf")
    assert replan(project, cache) == {}
    write_llama(project.folder / "other.gguf", {"general.name": "renamed"})
    assert replan(project, cache)["import_gguf"] == "file changed"


def test_what_cannot_be_read_is_refused_with_its_line(project: Project) -> None:
    changes = {"llama.rope.scaling.type": "yarn", "tokenizer.ggml.pre": "unheard-of"}
    write_llama(project.folder / "tiny.gguf", changes)
    said = problems(project)
    assert len(said) == 2
    assert all(one.startswith("4: ") for one in said)
    (project.folder / "tiny.gguf").write_bytes(b"GGUF")
    assert "is not a model" in problems(project)[0]
    (project.folder / "tiny.gguf").unlink()
    assert "there is no file" in problems(project)[0]


def test_one_of_the_hub_is_fetched_and_then_read(
    project: Project, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    project.edit('"tiny.gguf"', f'"hf:org/name@{COMMIT}"\nfile = "small-Q4_K_M.gguf"')
    plan = make_planner(project, cache).plan()
    fetch, read = plan["fetch"].step, plan["import_gguf"].step
    assert (fetch.params["repo"], fetch.params["file"]) == ("org/name", "small-Q4_K_M.gguf")
    assert read.inputs == {"folder": StepInput(step="fetch", key=fetch.key)}
    assert not read.network
    assert any("small-Q4_K_M.gguf" in note for note in plan.notes)


@pytest.mark.parametrize(
    ("source", "file", "message"),
    [
        ("tiny.gguf", "other.gguf", "file is that of a model of the hub"),
        (f"hf:org/name@{COMMIT}", "model.safetensors", "is no GGUF file"),
    ],
)
def test_a_file_that_cannot_be_meant(
    project: Project, source: str, file: str, message: str
) -> None:
    project.edit('"tiny.gguf"', f'"{source}"\nfile = "{file}"')
    assert any(message in one for one in problems(project))


def test_the_command_line_names_another(project: Project, tmp_path: Path) -> None:
    project.edit('"tiny.gguf"', f'"hf:org/name@{COMMIT}"\nfile = "small-Q4_K_M.gguf"')
    other = write_llama(tmp_path / "mine.gguf")
    loaded = load_config(project.config, [load_target("cpu")], Overrides(model=str(other)))
    assert loaded.config.model.file is None
    assert loaded.gguf is not None


def test_the_named_file_alone_is_fetched() -> None:
    params = FetchParams(repo="org/name", revision=COMMIT, file="b.gguf")
    assert chosen_files(["README.md", "a.gguf", "b.gguf"], params) == ["b.gguf"]
    with pytest.raises(StepError, match=r"no file b\.gguf") as caught:
        chosen_files(["a.gguf", "c.safetensors"], params)
    assert caught.value.hint == "it has: a.gguf"
