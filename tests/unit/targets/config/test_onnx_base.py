"""An ONNX model folder as the base: checked as it is, or changed by passes of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.contract.plan import SourceInput, StepInput
from targets.cache import Cache
from targets.config.load import Overrides, load_config
from targets.errors import ConfigError
from targets.planner.build_plan import BuildPlan
from targets.target import load_target
from tests.support.own_steps import SCALE
from tests.support.planning import build, make_planner, replan
from tests.support.project import Project, make_project
from tests.support.safetensors_files import write_safetensors


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = make_project(tmp_path / "project")
    project.edit('[model.pretrain]\ntext = "story.txt"', '[model]\nonnx = "built"')
    project.edit("[passes.lora]\nr = 8\n\n[passes.merge]\n\n[passes.model_builder]\n", "")
    folder = project.folder / "built"
    folder.mkdir()
    config = {"model": {"decoder": {"filename": "model.onnx"}}}
    (folder / "genai_config.json").write_text(json.dumps(config))
    (folder / "model.onnx").write_bytes(b"graph")
    (project.folder / "my_pass.py").write_text(SCALE.replace("from helper import factor", ""))
    return project


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def steps(plan: BuildPlan) -> set[str]:
    return {planned.step.name for planned in plan.steps}


def test_it_is_checked_as_it_is(project: Project, cache: Cache) -> None:
    plan = make_planner(project, cache).plan()
    checks = {"graph", "provider", "generation", "latency", "memory", "quality", "rebuild", "size"}
    assert steps(plan) == {"import_onnx", *checks}
    assert (plan.artifact, plan.artifact_kind) == ("import_onnx", "onnx")
    for name in checks:
        assert plan[name].step.inputs.keys() == {"artifact"}
    (note,) = plan.notes
    assert "name the checkpoint it was made from" in note
    assert note.endswith("these checks do not apply to it: conversion, merging, quantization")


@pytest.mark.parametrize("source", ["checkpoint", f"hf:org/model@{'0' * 40}"])
def test_it_is_held_against_the_checkpoint_that_it_was_made_from(
    project: Project, cache: Cache, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    folder = project.folder / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "phi3"}))
    (folder / "tokenizer.json").write_text("{}")
    write_safetensors(folder / "model.safetensors", {"weights": [[1.0]]})
    project.edit('onnx = "built"', f'onnx = "built"\nsource = "{source}"')
    plan = make_planner(project, cache).plan()
    assert {"conversion", "quantization", "rebuild"} < steps(plan)
    assert "merging" not in steps(plan)
    assert steps(plan) >= {"import_onnx", "reference", "evaluate-tuned"}
    assert steps(plan).isdisjoint({"float_reference", "evaluate-base", "model_builder"})
    given = plan["quantization"].step.inputs
    assert given.keys() == {"artifact", "reference", "model"}
    assert given["model"] == plan["reference"].step.inputs["model"]
    assert given["artifact"] != given["model"]
    assert ("fetch" in steps(plan)) == source.startswith("hf:")
    assert any("it is held against the checkpoint in source" in note for note in plan.notes)


def test_a_changed_file_of_it_is_checked_again(project: Project, cache: Cache) -> None:
    build(project, cache)
    assert replan(project, cache) == {}
    (project.folder / "built").rename(project.folder / "moved")
    project.edit('onnx = "built"', 'onnx = "moved"')
    assert replan(project, cache) == {}
    (project.folder / "moved" / "model.onnx").write_bytes(b"other")
    assert replan(project, cache)["import_onnx"] == "folder changed"


def test_a_pass_of_ones_own_may_change_it(project: Project, cache: Cache) -> None:
    table = '\n[passes.threads]\ntype = "my_pass.py:Threads"\n'
    project.config.write_text(project.config.read_text() + table)
    plan = make_planner(project, cache).plan()
    assert plan.artifact == "threads"
    (source,) = plan["threads"].step.inputs.values()
    assert isinstance(source, StepInput)
    assert source.step == "import_onnx"
    assert steps(plan).isdisjoint({"conversion", "merging", "quantization"})


@pytest.mark.parametrize(
    ("old", "new", "key", "said"),
    [
        ('onnx = "built"', 'onnx = "buil"', "model.onnx", "there is no folder"),
        ('onnx = "built"', 'onnx = "."', "model.onnx", "holds no genai_config.json"),
        ('onnx = "built"', 'onnx = "built"\nsource = "x"', "model.source", "/x'"),
        ('onnx = "built"', 'onnx = "built"\nsource = "x.gguf"', "model.source", "not a GGUF file"),
        ('"built"', '"built"\npretrain = { text = "story.txt" }', "model", "exactly one of source"),
        ('onnx = "built"', "", "model", "exactly one of source"),
        ('onnx = "built"', 'pretrain = { text = "story.txt" }', "passes", "nothing would be made"),
        ("[data.tone]", "[passes.lora]\n[data.tone]", "passes.lora", "no pass before it makes"),
    ],
)
def test_mistakes(project: Project, old: str, new: str, key: str, said: str) -> None:
    project.edit(old, new)
    with pytest.raises(ConfigError) as caught:
        load_config(project.config, [load_target("cpu")])
    assert [problem.key for problem in caught.value.problems if said in problem.message] == [key]


def test_a_folder_that_is_not_whole(project: Project) -> None:
    (project.folder / "built" / "model.onnx").unlink()
    with pytest.raises(ConfigError, match=r"lacks its graph model\.onnx"):
        load_config(project.config, [load_target("cpu")])
    (project.folder / "built" / "genai_config.json").write_text("{}")
    with pytest.raises(ConfigError, match="names no decoder"):
        load_config(project.config, [load_target("cpu")])


def test_one_of_several_adapters_beside_it_has_to_be_chosen(project: Project) -> None:
    folder = project.folder / "built"
    (folder / "first.onnx_adapter").write_bytes(b"")
    load_config(project.config, [load_target("cpu")])
    (folder / "second.onnx_adapter").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"several adapters: first\.onnx_adapter, second"):
        load_config(project.config, [load_target("cpu")])


def test_another_model_takes_its_place(project: Project, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing would be made"):
        load_config(project.config, [load_target("cpu")], Overrides(model=str(tmp_path)))


def test_how_it_was_built_is_known_of_what_is_built_here(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    table = '\n[checks.rebuild]\nbuilt_with = { precision = "int4" }\n'
    project.config.write_text(project.config.read_text() + table)
    with pytest.raises(ConfigError) as caught:
        load_config(project.config, [load_target("cpu")])
    assert [problem.key for problem in caught.value.problems] == ["checks.rebuild.built_with"]


def test_a_check_that_asks_a_model_needs_data(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    text = project.config.read_text()
    start, end = text.index("[data.tone]"), text.index("[passes.lora]")
    project.config.write_text(text[:start] + "[checks.quality]\n" + text[end:])
    project.edit("[passes.lora]\nr = 8\n\n[passes.merge]\n", "")
    with pytest.raises(ConfigError) as caught:
        load_config(project.config, [load_target("cpu")])
    assert [problem.key for problem in caught.value.problems] == ["checks.quality"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"custom_ops_library": "ops.so"}, "the native library 'ops.so' would be loaded"),
        ({"ep_context_file_path": "/etc/x"}, "ep_context_file_path: this session option is not"),
        ({"enable_profiling": "/home/me/x"}, "enable_profiling: this session option is not"),
        ({"session.model_external_initializers_file_folder_path": "/"}, "is not one that a model"),
        ({"log_id": ["x"]}, "log_id: list is no value"),
        (
            {"provider_options": [{"qnn": {"backend_path": "evil.so"}}]},
            "qnn.backend_path: this option of an execution provider names a file",
        ),
        # As the pages of ONNX Runtime's execution providers have them: QNN loads these libraries,
        # OpenVINO and TensorRT read these files.
        (
            {"provider_options": [{"qnn": {"op_packages": "MyAdd:evil.so:provider"}}]},
            "qnn.op_packages: this option of an execution provider names a file",
        ),
        (
            {"provider_options": [{"OpenVINO": {"load_config": "evil"}}]},
            "OpenVINO.load_config: this option of an execution provider names a file",
        ),
        (
            {"provider_options": [{"NvTensorRtRtx": {"nv_runtime_cache": "../evil"}}]},
            "NvTensorRtRtx.nv_runtime_cache: this option of an execution provider names a file",
        ),
    ],
)
@pytest.mark.parametrize("part", ["decoder", "encoder"])
def test_native_code_runs_only_where_the_config_says_so(
    project: Project, options: dict[str, object], said: str, part: str
) -> None:
    config = {"model": {"decoder": {"filename": "model.onnx"}, "encoder": {}}}
    config["model"][part]["session_options"] = options  # type: ignore[assignment]
    (project.folder / "built" / "genai_config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError) as caught:
        load_config(project.config, [load_target("cpu")])
    (problem,) = caught.value.problems
    assert problem.key == "model.onnx"
    assert said in problem.message
    assert "trust_remote_code" in problem.suggestion

    project.edit('onnx = "built"', 'onnx = "built"\ntrust_remote_code = true')
    load_config(project.config, [load_target("cpu")])


def test_what_the_builder_writes_is_no_code(project: Project) -> None:
    """As ONNX Runtime GenAI 0.18 and 0.13 write it for cpu, cuda and dml."""
    written: list[list[object]] = [[], [{"cuda": {"enable_cuda_graph": "0"}}], [{"dml": {}}]]
    # What people add by hand.
    written += [[{"cuda": {"gpu_mem_limit": "2147483648", "arena_extend_strategy": "kSame"}}]]
    for providers in written:
        options = {"log_id": "onnxruntime-genai", "provider_options": providers}
        more = {"intra_op_num_threads": 4, "session.intra_op.allow_spinning": "0"}
        decoder = {"filename": "model.onnx", "session_options": {**options, **more}}
        text = json.dumps({"model": {"decoder": decoder}})
        (project.folder / "built" / "genai_config.json").write_text(text)
        load_config(project.config, [load_target("cpu")])


@pytest.mark.parametrize("graph", ["../model.onnx", "/model.onnx"])
def test_a_graph_outside_the_folder(project: Project, graph: str) -> None:
    text = json.dumps({"model": {"decoder": {"filename": graph}}})
    (project.folder / "built" / "genai_config.json").write_text(text)
    with pytest.raises(ConfigError, match="names a graph outside the folder"):
        load_config(project.config, [load_target("cpu")])


def test_a_link_out_of_the_folder(project: Project) -> None:
    (project.folder / "built" / "weights.data").symlink_to("/etc/hostname")
    with pytest.raises(ConfigError, match="its links lead out of it"):
        load_config(project.config, [load_target("cpu")])


def test_a_folder_of_a_snapshot_of_the_hubs_cache(
    project: Project, cache: Cache, tmp_path: Path
) -> None:
    repository = tmp_path / "models--org--name"
    folder = repository / "snapshots" / "0123" / "cpu" / "int4"
    folder.mkdir(parents=True)
    (project.folder / "built").rename(repository / "blobs")
    for file in (repository / "blobs").iterdir():
        (folder / file.name).symlink_to(f"../../../../blobs/{file.name}")
    project.edit('onnx = "built"', f'onnx = "{folder}"')
    plan = make_planner(project, cache).plan()
    taken = plan["import_onnx"].step.inputs["folder"]
    assert isinstance(taken, SourceInput)
    (mount,) = (mount for mount in plan.mounts if mount.root == taken.ref.root)
    assert (mount.source, taken.ref.path) == (repository, "snapshots/0123/cpu/int4")


def test_settings_that_no_reader_survives(project: Project) -> None:
    (project.folder / "built" / "genai_config.json").write_text("[" * 100_000)
    with pytest.raises(ConfigError, match="nested too deeply"):
        load_config(project.config, [load_target("cpu")])


@pytest.mark.parametrize("name", ["model", "decoder", "session_options", "custom_ops_library"])
def test_a_second_key_does_not_hide_a_library(project: Project, name: str) -> None:
    """Python takes the last of two keys of one name. The runtime heeds both, as 0.18 and 0.13 do:
    ``og.Model`` ends with "Failed to load library ops.so"."""
    session: dict[str, object] = {"custom_ops_library": "ops.so"}
    hidden: object = {"model": {"decoder": {"session_options": session}}}
    plain: object = {"model": {"decoder": {"filename": "model.onnx", "session_options": {}}}}
    for part in ("model", "decoder", "session_options", "custom_ops_library"):
        hidden = hidden[part]  # type: ignore[index]
        if part == name:
            break
    text = json.dumps(plain)
    if name == "custom_ops_library":
        twice = f'"{name}": "ops.so", "{name}": ""'
        text = text.replace('"session_options": {', f'"session_options": {{{twice}')
    else:
        text = text.replace(f'"{name}":', f'"{name}": {json.dumps(hidden)}, "{name}":')
    (project.folder / "built" / "genai_config.json").write_text(text)
    for trusted in (False, True):
        if trusted:
            project.edit('onnx = "built"', 'onnx = "built"\ntrust_remote_code = true')
        with pytest.raises(ConfigError, match=f"'{name}' occurs twice"):
            load_config(project.config, [load_target("cpu")])
