"""An adapter that was trained elsewhere: merged like one's own, or refused in the plan."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.contract.plan import SourceInput, StepInput
from pipeline.training.adapter_fit import stored_misfits
from targets.cache import Cache
from targets.config.load import load_config
from targets.errors import ConfigError
from targets.target import load_target
from tests.support.planning import build, make_planner, replan
from tests.support.project import Project, make_project
from tests.support.safetensors_files import write_safetensors

LAYER = "model.layers.0.self_attn.q_proj"


def zeros(rows: int, columns: int) -> list[list[float]]:
    return [[0.0] * columns for _ in range(rows)]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return a project with a model of one layer (6 x 4), and an adapter of rank 2 for it."""
    project = make_project(tmp_path / "project")
    project.edit(
        '[model.pretrain]\ntext = "story.txt"', '[model]\nsource = "base"\nadapter = "tuned"'
    )
    project.edit("[passes.lora]\nr = 8\n\n", "")
    base = project.folder / "base"
    base.mkdir()
    (base / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (base / "tokenizer.json").write_text("{}")
    weights = {"model.embed_tokens.weight": zeros(3, 4), f"{LAYER}.weight": zeros(6, 4)}
    write_safetensors(base / "model.safetensors", weights)
    adapter = project.folder / "tuned"
    adapter.mkdir()
    settings = {"peft_type": "LORA", "r": 2, "base_model_name_or_path": "/home/me/base"}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    tensors(adapter, 6, 4)
    return project


def tensors(adapter: Path, rows: int, columns: int, layer: str = LAYER) -> None:
    name = f"base_model.model.{layer}"
    pair = {f"{name}.lora_A.weight": zeros(2, columns), f"{name}.lora_B.weight": zeros(rows, 2)}
    write_safetensors(adapter / "adapter_model.safetensors", pair)


def problems(project: Project) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        load_config(project.config, [load_target("cpu")])
    return [(problem.key, problem.message) for problem in caught.value.problems]


def test_it_is_merged_into_the_base(project: Project, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    plan = make_planner(project, cache).plan()
    taken = plan["import_adapter"].step
    assert isinstance(taken.inputs["folder"], SourceInput)
    assert isinstance(taken.inputs["model"], SourceInput)
    adapter = plan["merge"].step.inputs["adapter"]
    assert isinstance(adapter, StepInput)
    assert adapter.step == "import_adapter"
    # What proves a merge of one's own adapter proves this one.
    assert {"merging", "adapted_reference", "evaluate-base"} <= {
        planned.step.name for planned in plan.steps
    }
    build(project, cache)
    assert replan(project, cache) == {}
    tensors(project.folder / "tuned", 6, 4, LAYER)
    (project.folder / "tuned" / "README.md").write_text("a card")
    assert replan(project, cache)["import_adapter"] == "folder changed"


def no_settings(adapter: Path) -> None:
    (adapter / "adapter_config.json").unlink()


def broken_settings(adapter: Path) -> None:
    (adapter / "adapter_config.json").write_text("{")


def settings_of_no_kind(adapter: Path) -> None:
    (adapter / "adapter_config.json").write_text("[]")


def a_soft_prompt(adapter: Path) -> None:
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "PREFIX_TUNING"}))


def no_weights(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").unlink()


def pickled(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")


def cut_short(adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])


def of_another_width(adapter: Path) -> None:
    tensors(adapter, 6, 8)


def of_another_layer(adapter: Path) -> None:
    tensors(adapter, 6, 4, "model.layers.1.self_attn.q_proj")


def a_factor_that_is_a_vector(adapter: Path) -> None:
    name = f"base_model.model.{LAYER}"
    part = {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]}
    header = json.dumps({f"{name}.lora_A.weight": part}).encode()
    content = struct.pack("<Q", len(header)) + header + bytes(32)
    (adapter / "adapter_model.safetensors").write_bytes(content)


def embedding_of_another_size(adapter: Path) -> None:
    name = "base_model.model.model.embed_tokens.weight"
    write_safetensors(adapter / "adapter_model.safetensors", {name: zeros(5, 4)})


def not_there(adapter: Path) -> None:
    shutil.rmtree(adapter)


def linked(adapter: Path) -> None:
    elsewhere = adapter.parent / "blob"
    (adapter / "adapter_model.safetensors").rename(elsewhere)
    (adapter / "adapter_model.safetensors").symlink_to(elsewhere)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (no_settings, "holds no adapter_config.json"),
        (broken_settings, "adapter_config.json cannot be read"),
        (settings_of_no_kind, "names no peft_type"),
        (a_soft_prompt, "its kind is PREFIX_TUNING"),
        (no_weights, "holds no adapter_model.safetensors"),
        (pickled, "its weights are pickled"),
        (cut_short, "adapter_model.safetensors is cut short"),
        (of_another_width, f"made for another model: {LAYER} has another size"),
        (of_another_layer, "there is no layer model.layers.1.self_attn.q_proj"),
        (a_factor_that_is_a_vector, f"the factors of {LAYER} are no matrices"),
        (embedding_of_another_size, "model.embed_tokens has another size"),
        (not_there, "there is no folder 'tuned'"),
        (linked, "its links lead out of it"),
    ],
)
def test_what_cannot_be_merged_is_refused_in_the_plan(
    project: Project, fault: Callable[[Path], None], said: str
) -> None:
    fault(project.folder / "tuned")
    ((key, message),) = problems(project)
    assert key == "model.adapter"
    assert said in message


def test_a_snapshot_of_the_hubs_cache_is_mounted_with_what_it_links_to(
    project: Project, tmp_path: Path
) -> None:
    repository = tmp_path / "models--org--name"
    blobs, snapshot = repository / "blobs", repository / "snapshots" / "0123"
    (project.folder / "tuned").rename(blobs_of(repository))
    snapshot.mkdir(parents=True)
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    project.edit('adapter = "tuned"', f'adapter = "{snapshot}"')
    plan = make_planner(project, Cache(tmp_path / "cache")).plan()
    taken = plan["import_adapter"].step.inputs["folder"]
    assert isinstance(taken, SourceInput)
    (mount,) = (mount for mount in plan.mounts if mount.root == taken.ref.root)
    assert (mount.source, taken.ref.path) == (repository, "snapshots/0123")


def blobs_of(repository: Path) -> Path:
    """Return the place for the files of a repository in the hub's cache."""
    repository.mkdir()
    return repository / "blobs"


def test_the_head_of_a_tied_model_is_no_layer_of_the_file(project: Project) -> None:
    base, adapter = project.folder / "base", project.folder / "tuned"
    tensors(adapter, 3, 4, "lm_head")
    assert "there is no layer lm_head" in problems(project)[0][1]
    config = {"model_type": "llama", "tie_word_embeddings": True}
    (base / "config.json").write_text(json.dumps(config))
    load_config(project.config, [load_target("cpu")])


def test_layers_of_gpt_2_lie_the_other_way_round(project: Project) -> None:
    base, adapter = project.folder / "base", project.folder / "tuned"
    layer = "transformer.h.0.attn.c_attn"
    weights = {"transformer.wte.weight": zeros(3, 4), f"{layer}.weight": zeros(4, 12)}
    write_safetensors(base / "model.safetensors", weights)
    tensors(adapter, 12, 4, layer)
    # That the builder knows no GPT-2 is said elsewhere.
    (base / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    assert not list(stored_misfits(adapter, base))
    tensors(adapter, 4, 12, layer)
    assert list(stored_misfits(adapter, base)) == [f"{layer} has another size"]


def test_all_that_is_wrong_with_it_is_said_at_once(project: Project) -> None:
    no_settings(project.folder / "tuned")
    no_weights(project.folder / "tuned")
    assert len(problems(project)) == 2


@pytest.mark.parametrize(
    ("old", "new", "key", "said"),
    [
        ("[passes.merge]\n", "", "passes.import_adapter", "is not used by any later pass"),
        ('adapter = "tuned"', 'adapter = "hf:me/tuned@main"', "model.adapter", "a local folder"),
        (
            "[passes.merge]",
            '[passes.import_adapter]\nfolder = "x"\n[passes.merge]',
            "passes.import_adapter",
            "used by a built-in step",
        ),
        (
            "[passes.merge]",
            '[passes.mine]\ntype = "import_adapter"\nfolder = "x"\n[passes.merge]',
            "passes.mine",
            "it runs by itself",
        ),
        ('source = "base"', 'onnx = "base"', "model.adapter", "an ONNX model takes no adapter"),
    ],
)
def test_mistakes(project: Project, old: str, new: str, key: str, said: str) -> None:
    project.edit(old, new)
    assert key in {where for where, message in problems(project) if said in message}


def test_a_checkpoint_without_its_outer_module_has_the_same_layers(project: Project) -> None:
    weights = {"embed_tokens.weight": zeros(3, 4), f"{LAYER.partition('.')[2]}.weight": zeros(6, 4)}
    write_safetensors(project.folder / "base" / "model.safetensors", weights)
    load_config(project.config, [load_target("cpu")])
