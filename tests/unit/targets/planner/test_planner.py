"""Keys: what a change rebuilds, and what it leaves alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline.contract.plan import SourceInput, StepInput, object_path
from pipeline.contract.result import PROVISIONAL, RESULT_FILE, read_result
from targets.cache import Cache
from targets.machine import cpu_name
from targets.target import load_target
from tests.support.planning import build, make_planner, replan, to_run
from tests.support.project import Project, make_project
from tests.support.safetensors_files import write_safetensors


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def test_results_of_another_runtime_are_set_aside_where_only_one_counts(
    project: Project, cache: Cache
) -> None:
    build(project, cache, {"lora": "venv", "merge": ""})
    assert replan(project, cache) == {}
    plan = make_planner(project, cache, only="docker").plan()
    assert to_run(plan) == {"lora": "made in a virtual environment"}
    assert plan["lora"].set_aside is not None
    plan = make_planner(project, cache, only="venv").plan()
    assert to_run(plan)["model_builder"] == "made in containers"
    assert not {"lora", "merge"} & to_run(plan).keys()


def test_a_provisional_result_is_made_anew_with_all_that_was_made_of_it(
    project: Project, cache: Cache
) -> None:
    plan = build(project, cache)
    folder = cache.objects / object_path(plan["model_builder"].step.key)
    result = read_result(folder)
    busy = result.model_copy(update={"metrics": {PROVISIONAL: "the machine was busy"}})
    (folder / RESULT_FILE).write_text(busy.model_dump_json())
    again = make_planner(project, cache).plan()
    assert again["model_builder"].reason == "made anew: the machine was busy"
    assert again["graph"].reason == "model_builder is made anew"
    assert all(planned.replaces for planned in again.missing)
    assert not {"pretrain", "lora", "merge", "reference"} & to_run(again).keys()
    for planned in again.missing:
        cache.forget(planned.step.key)
        assert cache.find(planned.step.key) is None


def test_steps_are_in_order_and_first_time_all_run(project: Project, cache: Cache) -> None:
    plan = make_planner(project, cache).plan()
    names = [planned.step.name for planned in plan.steps]
    assert names[:4] == ["pretrain", "lora", "merge", "model_builder"]
    assert set(names[4:]) == {
        "evaluate-base",
        "evaluate-tuned",
        "graph",
        "generation",
        "quality",
        "latency",
        "memory",
        "conversion",
        "merging",
        "quantization",
        "rebuild",
        "provider",
        "reference",
        "float_reference",
        "adapted_reference",
        "size",
    }
    assert set(to_run(plan).values()) == {"not built yet"}
    assert plan["lora"].step.key == make_planner(project, cache).plan()["lora"].step.key


def test_the_form_of_answers_concerns_only_those_who_ask_the_artifact(
    project: Project, cache: Cache
) -> None:
    build(project, cache)
    project.edit('label = "tone"', 'label = "tone"\nconstrain = true')
    assert set(replan(project, cache)) == {"quality", "generation"}


def test_unchanged_build_runs_nothing(project: Project, cache: Cache) -> None:
    build(project, cache)
    assert replan(project, cache) == {}


def test_edited_row_rebuilds_from_lora_on_and_not_before(project: Project, cache: Cache) -> None:
    build(project, cache)
    text = project.data.read_text()
    before = project.data.stat()
    project.data.write_text(text.replace("phrase number 7", "phrase number 8", 1))
    os.utime(project.data, ns=(before.st_atime_ns, before.st_mtime_ns))
    reasons = replan(project, cache)
    assert "pretrain" not in reasons
    assert reasons["lora"] == "the data changed"
    assert reasons["merge"] == "lora changed"
    assert {"model_builder", "evaluate-base", "quality"} <= reasons.keys()


def test_changed_parameter_is_named_with_both_values(project: Project, cache: Cache) -> None:
    build(project, cache)
    project.edit("r = 8", "r = 16")
    reasons = replan(project, cache)
    assert reasons["lora"] == "r: 8 → 16"
    assert "pretrain" not in reasons
    assert "evaluate-base" not in reasons


def test_how_often_a_training_is_saved_reruns_nothing(project: Project, cache: Cache) -> None:
    build(project, cache)
    project.edit("r = 8", "r = 8\nsave_steps = 50")
    assert replan(project, cache) == {}


def test_changed_limit_reruns_only_its_check(project: Project, cache: Cache) -> None:
    build(project, cache)
    project.edit("[passes.merge]", "[checks.latency]\ntoken_ms = 55\n[passes.merge]")
    assert replan(project, cache).keys() == {"latency"}


def test_seed_reruns_what_is_trained(project: Project, cache: Cache) -> None:
    build(project, cache)
    project.edit('name = "small"', 'name = "small"\nseed = 1')
    assert replan(project, cache)["pretrain"] == "seed: 0 → 1"


def test_name_and_place_of_files_do_not_matter(project: Project, cache: Cache) -> None:
    build(project, cache)
    project.edit('name = "small"', 'name = "renamed"')
    project.edit('path = "tone.jsonl"', 'path = "moved.jsonl"')
    project.data.rename(project.folder / "moved.jsonl")
    assert replan(project, cache) == {}


def test_changed_text_rebuilds_the_base_model(project: Project, cache: Cache) -> None:
    build(project, cache)
    (project.folder / "story.txt").write_text("Another story.\n\n" * 60)
    reasons = replan(project, cache)
    assert reasons["pretrain"] == "text changed"
    assert reasons["lora"] == "pretrain changed"


def test_changed_lock_rebuilds_everything(project: Project, cache: Cache, tmp_path: Path) -> None:
    build(project, cache)
    lock = load_target("cpu").toolchain("linux/amd64").lock
    (tmp_path / lock.name).write_text(lock.read_text() + "# newer\n")
    plan = make_planner(project, cache, lock=tmp_path).plan()
    assert to_run(plan)["pretrain"] == "the toolchain changed"
    assert len(plan.missing) == len(plan.steps)


def test_removed_result_is_made_again(project: Project, cache: Cache) -> None:
    plan = build(project, cache)
    folder = cache.objects / object_path(plan["merge"].step.key)
    (folder / RESULT_FILE).unlink()
    assert replan(project, cache) == {"merge": "its result is not in the cache"}


def test_trusting_remote_code_is_said(project: Project, cache: Cache) -> None:
    project.edit(
        'text = "story.txt"\n', 'text = "story.txt"\n\n[model]\ntrust_remote_code = true\n'
    )
    assert any("trust_remote_code" in note for note in make_planner(project, cache).plan().notes)


def test_local_model_is_an_input_by_content(project: Project, cache: Cache) -> None:
    folder = project.folder / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "phi3"}))
    (folder / "tokenizer.json").write_text("{}")
    write_safetensors(folder / "model.safetensors", {"weights": [[1.0]]})
    project.edit('[model.pretrain]\ntext = "story.txt"', 'model = "model"')
    build(project, cache)
    write_safetensors(folder / "model.safetensors", {"weights": [[2.0]]})
    reasons = replan(project, cache)
    assert reasons["lora"] == "model changed"


def test_a_snapshot_of_the_hubs_cache_is_mounted_with_what_it_links_to(
    project: Project, cache: Cache
) -> None:
    repository = project.folder / "models--org--name"
    snapshot = repository / "snapshots" / "0123"
    (repository / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (repository / "blobs" / "a").write_text(json.dumps({"model_type": "phi3"}))
    (repository / "blobs" / "b").write_text("{}")
    write_safetensors(repository / "blobs" / "c", {"weights": [[1.0]]})
    for blob, name in zip(
        "abc", ("config.json", "tokenizer.json", "model.safetensors"), strict=True
    ):
        (snapshot / name).symlink_to(f"../../blobs/{blob}")
    project.edit('[model.pretrain]\ntext = "story.txt"', f'model = "{snapshot}"')
    plan = make_planner(project, cache).plan()
    (mount,) = (mount for mount in plan.mounts if mount.root == "model")
    model = plan["lora"].step.inputs["model"]
    assert isinstance(model, SourceInput)
    assert (mount.source, model.ref.path) == (repository, "snapshots/0123")


def test_checks_run_again_where_the_device_is(project: Project, cache: Cache) -> None:
    build(project, cache)
    plan = make_planner(project, cache, absence="there is no such device here").plan()
    assert set(to_run(plan)) == {
        *("generation", "graph", "latency", "memory", "provider", "quality"),
        *("conversion", "quantization"),
    }
    assert plan["latency"].step.absent_device == "there is no such device here"


SCRIPT = """
[checks.rouge]
type = "script"
script = "metrics.py"
metric = "rouge"

[passes.merge]"""


def test_a_script_is_an_input_by_content(project: Project, cache: Cache) -> None:
    script = project.folder / "metrics.py"
    script.write_text("def rouge(answers, expected): return 1")
    project.edit("[passes.merge]", SCRIPT)
    build(project, cache)
    script.write_text("def rouge(answers, expected): return 2")
    assert replan(project, cache) == {"rouge": "script changed"}
    script.rename(project.folder / "moved.py")
    project.edit("metrics.py", "moved.py")
    (project.folder / "moved.py").write_text("def rouge(answers, expected): return 1")
    assert replan(project, cache) == {}


def test_the_base_is_timed_only_to_compare_with_it(project: Project, cache: Cache) -> None:
    faster = 'goals = [{ metric = "token_ms", min_improvement = 1 }]'
    again = '[checks.again]\ntype = "latency"\nsamples = 99\n'
    project.edit("[passes.merge]", f"[checks.latency]\n{faster}\n{again}{faster}\n[passes.merge]")
    plan = make_planner(project, cache).plan()
    names = [planned.step.name for planned in plan.steps]
    assert [name for name in names if "time" in name] == ["time-base-latency"]
    assert names.index("time-base-latency") < names.index("graph")
    timing = StepInput(step="time-base-latency", key=plan["time-base-latency"].step.key)
    for name in ("latency", "again"):
        assert plan[name].step.inputs["base_timing"] == timing
    assert plan["time-base-latency"].step.inputs == {
        "model": StepInput(step="pretrain", key=plan["pretrain"].step.key)
    }


TASKS = """
[checks.lm_eval]
tasks = ["mine"]
task_folder = "tasks"

[passes.merge]"""
ASKED = {"tasks-of-base-lm_eval", "tasks-of-tuned-lm_eval", "lm_eval"}


def test_tasks_are_asked_again_when_anything_in_their_folder_changes(
    project: Project, cache: Cache
) -> None:
    folder = project.folder / "tasks"
    folder.mkdir()
    (folder / "mine.yaml").write_text("task: mine\nprocess_docs: !function helpers.asked")
    (folder / "helpers.py").write_text("raise AssertionError('this ran on the host')")
    before = {planned.step.key for planned in build(project, cache).steps}
    project.edit("[passes.merge]", TASKS)
    plan = build(project, cache)
    assert {planned.step.key for planned in plan.steps} > before
    assert {one.step.name for one in plan.steps if one.step.key not in before} == ASKED
    assert all(plan[name].step.runs_code_of_the_user for name in ASKED)
    assert not any(plan[name].step.network for name in ASKED)
    (folder / "helpers.py").write_text("raise AssertionError('nor did this')")
    assert replan(project, cache).keys() == ASKED
    (folder / "helpers.py").write_text("raise AssertionError('this ran on the host')")
    project.edit('task_folder = "tasks"', 'task_folder = "tasks"\nmax_loss = 0.5')
    assert replan(project, cache).keys() == {"lm_eval"}


def test_packages_of_a_check_are_an_input_of_what_needs_them_alone(
    project: Project, cache: Cache
) -> None:
    assert not make_planner(project, cache).plan().packages
    project.edit("[passes.merge]", TASKS.replace('\ntask_folder = "tasks"', ""))
    plan = make_planner(project, cache).plan()
    (packages,) = plan.missing_packages
    readers = {one.step.name for one in plan.steps if "packages" in one.step.inputs}
    assert readers == {*ASKED, "fetch-tasks-lm_eval"}
    assert {plan[name].step.inputs["packages"].digest for name in readers} == {packages.digest}  # type: ignore[union-attr]
    fetching = plan["fetch-tasks-lm_eval"].step
    assert (fetching.hub, fetching.runs_code_of_the_user) == (True, False)
    for name in ASKED:
        assert plan[name].step.inputs["task_data"] == StepInput(
            step=fetching.name, key=fetching.key
        )


def test_the_cpus_own_arithmetic_is_in_every_key_and_said(project: Project, cache: Cache) -> None:
    build(project, cache)
    text = project.config.read_text()
    project.config.write_text(f'{text}\n[resources]\narithmetic = "native"\n')
    plan = make_planner(project, cache).plan()
    assert len(plan.missing) == len(plan.steps)
    assert to_run(plan)["lora"].startswith(f"arithmetic: portable → {cpu_name()}")
    assert f"arithmetic = native: the bytes are those of this CPU, {cpu_name()}" in plan.notes
    project.config.write_text(text)
    assert replan(project, cache) == {}


def test_the_model_of_the_gpu_is_in_the_keys_of_what_it_computes(
    project: Project, cache: Cache
) -> None:
    build(project, cache)
    changed = to_run(make_planner(project, cache, gpu="NVIDIA L4").plan())
    assert changed["pretrain"] == "GPU: none → NVIDIA L4"
    computed = {name for name, why in changed.items() if "GPU" in why}
    assert {"pretrain", "lora", "merge", "evaluate-base", "reference", "latency"} <= computed
    assert "model_builder" not in computed


def test_settings_of_a_checkpoint_with_which_none_is_asked_are_said(
    project: Project, cache: Cache
) -> None:
    folder = project.folder / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "phi3"}))
    (folder / "tokenizer.json").write_text("{}")
    write_safetensors(folder / "model.safetensors", {"weights": [[1.0]]})
    settings = {"num_beams": 4, "min_new_tokens": 3, "top_k": 5, "repetition_penalty": 1.1}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    project.edit('[model.pretrain]\ntext = "story.txt"', 'model = "model"')
    notes = "\n".join(make_planner(project, cache).plan().notes)
    assert "generation_config: num_beams = 4, min_new_tokens = 3: no model is asked" in notes
    assert "measured without" not in notes
    text = project.config.read_text()
    search = "[passes.model_builder]\nsearch = { num_beams = 2, max_length = 64 }"
    project.config.write_text(text.replace("[passes.model_builder]", search))
    notes = "\n".join(make_planner(project, cache).plan().notes)
    assert "the artifact is shipped with num_beams = 2, and measured without" in notes
