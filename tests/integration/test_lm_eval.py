"""Tasks of lm-eval: figures of checkpoints and artifacts, and what becomes of a worse one.

Each figure is held against those of `plain_tasks.py`, which has neither lm-eval nor Quern's code.
"""

from __future__ import annotations

import json
import math
import shutil
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from pipeline.contract.events import StepFailed
from pipeline.contract.plan import SourceInput, Step, StepInput
from pipeline.harness.results import TaskFigure, TaskResults
from pipeline.process.packages import PACKAGES
from targets.target import load_target
from targets.toolchain.package_set import package_set
from targets.toolchain.platforms import this_machine
from tests.support import plans
from tests.support.command import Quern
from tests.support.hub_stand_in import COMMIT, TOKEN, hub
from tests.support.quick_builds import quick_project, report_of
from tests.support.task_folder import TASKS, write_tasks
from tests.support.warm_process import warm_code, warm_output

TASK = {"tasks": ["choice", "text", "answer"], "task_folder": "tasks"}
SHOTS = {"tasks": ["shots"], "task_folder": "tasks", "num_fewshot": 2, "limit": 4}
ASKED: Mapping[str, SourceInput] = {
    PACKAGES: plans.material_input(PACKAGES),
    "task_folder": plans.material_input("tasks"),
}
OTHER = plans.material_input("other")


def asking(name: str, params: Mapping[str, Any] = TASK, model: SourceInput | None = None) -> Step:
    """Return a step that asks a checkpoint."""
    inputs = {"model": model or plans.CHECKPOINT, **ASKED}
    return plans.step(name, "pass", inputs, params, type="run_tasks")


def checking(name: str, artifact: str, params: Mapping[str, Any], **others: str) -> Step:
    """Return a check of an artifact against what other steps found."""
    inputs: dict[str, SourceInput | StepInput] = {"artifact": plans.output_of(artifact), **ASKED}
    inputs |= {role: plans.output_of(step) for role, step in others.items()}
    return plans.step(name, "check", inputs, params, type="lm_eval")


def beginning_with_start(checkpoint: Path) -> None:
    """Have the tokenizer of a checkpoint put ``<s>`` in front of each text, as Llama's does."""
    file = checkpoint / "tokenizer.json"
    content = json.loads(file.read_text("utf-8"))
    start = next(one["id"] for one in content["added_tokens"] if one["content"] == "<s>")
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [start], "tokens": ["<s>"]}},
    }
    file.write_text(json.dumps(content), "utf-8")


def of_other_weights(checkpoint: Path, folder: Path) -> None:
    """Copy a checkpoint with the rows of its embeddings in another order: it knows nothing."""
    shutil.copytree(checkpoint, folder)
    for file in folder.glob("*.safetensors"):
        found = {name: value.copy() for name, value in load_file(file).items()}
        for name in found:
            if "embed_tokens" in name:
                found[name] = found[name][::-1].copy()
        save_file(found, file, metadata={"format": "pt"})


@dataclass(frozen=True)
class Bench:
    """Artifacts, and what was found of them."""

    python: Path
    material: Path
    work: Path

    def run(self, *steps: Step) -> None:
        """Run steps that must work."""
        plans.must_run(self.python, self.work, self.material, steps)

    def figures(self, name: str) -> dict[str, TaskFigure]:
        """Return the figures that a step found, by name."""
        results = TaskResults.load(self.work / name / "output")
        return {figure.name: figure for figure in results.figures}


@pytest.fixture(scope="module")
def bench(
    toolchain_python: Path,
    material: Path,
    cache_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bench:
    """Return an artifact with what it, its checkpoint and another one score."""
    packages = package_set("lm_eval", load_target("cpu").toolchain(this_machine()))
    packages.ensure(cache_dir, print)
    shutil.copytree(packages.folder(cache_dir), material / PACKAGES)
    rows = [json.loads(line) for line in (material / "tones.jsonl").read_text().splitlines()]
    phrases = [(row["phrase"], row["tone"]) for row in rows]
    odd = [(phrase, "joy" if tone != "joy" else "fear") for phrase, tone in phrases[1::5]]
    write_tasks(material / "tasks", [*phrases, *odd])  # so that not all are right
    beginning_with_start(material / "checkpoint")
    of_other_weights(material / "checkpoint", material / "other")
    bench = Bench(toolchain_python, material, tmp_path_factory.mktemp("tasks") / "work")
    bench.run(
        asking("tuned"),
        asking("base", model=OTHER),
        plans.step("model_builder", "pass", {"model": plans.CHECKPOINT}),
        checking("lm_eval", "model_builder", TASK, tuned_tasks="tuned", base_tasks="base"),
    )
    return bench


@pytest.fixture(scope="module")
def plain(bench: Bench) -> dict[str, Any]:
    """Return what is right."""
    rows = bench.material / "tasks" / "rows.jsonl"
    artifact = bench.work / "model_builder" / "output"
    said = warm_output(
        *(bench.python, "tests.support.plain_tasks"),
        *(bench.material / "checkpoint", artifact, rows),
    )
    found = json.loads(said.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def test_every_figure_of_both_models_is_right(bench: Bench, plain: dict[str, Any]) -> None:
    ours = bench.figures("tuned")
    right = plain["checkpoint"]
    assert list(ours["choice.acc"].rows) == right["acc"]
    assert list(ours["choice.acc_norm"].rows) == right["acc_norm"]
    assert list(ours["answer.exact_match"].rows) == right["exact"]
    assert 0 < statistics.mean(right["acc"]) < 1
    assert ours["text.perplexity"].value == pytest.approx(
        math.exp(-statistics.mean(right["logprobs"])), rel=1e-5
    )
    deviation = statistics.stdev(right["acc"])
    assert ours["choice.acc"].stderr == pytest.approx(deviation / math.sqrt(len(right["acc"])))
    assert not ours["text.perplexity"].higher_is_better

    evidence: Any = plans.result(bench.work, "lm_eval").evidence["artifact"]
    right = plain["artifact"]
    assert evidence["choice.acc"]["value"] == pytest.approx(statistics.mean(right["acc"]))
    assert evidence["answer.exact_match"]["value"] == pytest.approx(statistics.mean(right["exact"]))
    assert evidence["text.perplexity"]["value"] == pytest.approx(
        math.exp(-statistics.mean(right["logprobs"])), rel=1e-3
    )


def test_a_good_artifact_passes_and_is_better_than_a_base_that_knows_nothing(bench: Bench) -> None:
    verdicts = {one.name: one for one in plans.result(bench.work, "lm_eval").verdicts}
    assert {one.status for one in verdicts.values()} == {"passed"}, verdicts
    assert verdicts["loss_to_base_choice.acc"].value < 0  # type: ignore[operator]
    assert len(verdicts) == 2 * len(bench.figures("tuned"))


@pytest.mark.slow
def test_an_artifact_of_other_weights_fails(bench: Bench) -> None:
    bench.run(
        plans.step("builder-of-other", "pass", {"model": OTHER}, type="model_builder"),
        checking("other", "builder-of-other", TASK, tuned_tasks="tuned"),
    )
    failed = plans.failed_verdicts(bench.work, "other")
    names = ("choice.acc", "text.perplexity", "answer.exact_match")
    assert {f"loss_to_float_{name}" for name in names} <= failed.keys()


@pytest.mark.slow
def test_swapped_answers_fail_what_is_the_worst_allowed(bench: Bench) -> None:
    rows = bench.material / "tasks" / "rows.jsonl"
    swapped = bench.material / "swapped"
    write_tasks(swapped, [])
    lines = [json.loads(line) for line in rows.read_text().splitlines()]
    for line in lines:
        line["answer"] = (line["answer"] + 1) % 3
    (swapped / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    inputs: dict[str, SourceInput | StepInput] = {
        "artifact": plans.output_of("model_builder"),
        **ASKED,
        "task_folder": plans.material_input("swapped"),
    }
    params = {"tasks": ["choice"], "task_folder": "swapped", "worst": {"choice.acc": 0.6}}
    bench.run(plans.step("swapped", "check", inputs, params, type="lm_eval"))
    assert plans.failed_verdicts(bench.work, "swapped").keys() == {"worst_choice.acc"}

    compared = {**inputs, "tuned_tasks": plans.output_of("tuned")}
    step = plans.step("unlike", "check", compared, params, type="lm_eval")
    code, events, _ = plans.run(bench.python, bench.work, bench.material, [step])
    assert code != 0
    assert "not asked the same rows" in str(events[-1])


@pytest.mark.slow
def test_examples_stand_in_front_and_rows_are_limited(bench: Bench, plain: dict[str, Any]) -> None:
    bench.run(
        asking("shown", SHOTS), checking("shots", "model_builder", SHOTS, tuned_tasks="shown")
    )
    assert list(bench.figures("shown")["shots.acc"].rows) == plain["checkpoint"]["shots"]
    evidence: Any = plans.result(bench.work, "shots").evidence["artifact"]
    right = statistics.mean(plain["artifact"]["shots"])
    assert evidence["shots.acc"]["value"] == pytest.approx(right)
    assert evidence["shots.acc"]["rows"] == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("chioce", "there is no task 'chioce' in the task folder"),
        ("gone", "the tasks gone cannot be loaded: FileNotFoundError"),
        ("raising", "the tasks raising cannot be loaded: ZeroDivisionError"),
        ("drawn", "the task 'drawn' draws its answers by chance"),
    ],
)
def test_a_task_that_cannot_be_run_is_named(bench: Bench, task: str, said: str) -> None:
    folder = bench.material / "tasks"
    texts = {name: (folder / f"{name}.yaml").read_text() for name in TASKS}
    wrong = {
        "gone": texts["choice"].replace("rows.jsonl", "none.jsonl"),
        "raising": texts["choice"].replace("helpers.asked", "wrong.raising"),
        "drawn": texts["answer"].replace("until:", "do_sample: true\n  temperature: 1.0\n  until:"),
    }
    place = bench.material / f"with-{task}"
    shutil.copytree(folder, place)
    (place / "wrong.py").write_text("def raising(rows):\n    1 / 0\n")
    for name, text in wrong.items():
        (place / f"{name}.yaml").write_text(text.replace(text.splitlines()[0], f"task: {name}"))
    step = asking(f"wrong-{task}", {"tasks": [task], "task_folder": "tasks"})
    inputs = {**step.inputs, "task_folder": plans.material_input(place.name)}
    step = step.model_copy(update={"inputs": inputs})
    code, events, _ = plans.run(bench.python, bench.work, bench.material, [step])
    assert code != 0
    (failed,) = (event for event in events if isinstance(event, StepFailed))
    assert said in failed.message
    assert failed.cause == "bad_input"


README = """---
configs:
- config_name: ARC-Easy
  data_files:
  - {split: train, path: train.jsonl}
  - {split: validation, path: validation.jsonl}
  - {split: test, path: test.jsonl}
---
"""
QUESTIONS = [("what a bright morning", "B"), ("he never came back", "A"), ("my cake is great", "A")]
RATED = """
import json, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, questions = sys.argv[1], json.loads(sys.argv[2])
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
for question, key in questions:
    start = tokenizer.encode(f"Question: {question}\\nAnswer:")
    rated = []
    for label in (" joy", " sadness"):
        ids = tokenizer.encode(f"Question: {question}\\nAnswer:{label}")
        with torch.no_grad():
            chances = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        rated.append(sum(chances[at - 1, ids[at]].item() for at in range(len(start), len(ids))))
    print(float("AB"[rated.index(max(rated))] == key))
"""


@pytest.mark.slow
def test_data_of_the_hub_is_fetched_by_one_step_and_read_without_a_network(bench: Bench) -> None:
    choices = {"text": ["joy", "sadness"], "label": ["A", "B"]}
    lines = [
        json.dumps({"id": str(at), "question": text, "choices": choices, "answerKey": key}) + "\n"
        for at, (text, key) in enumerate(QUESTIONS)
    ]
    served = {"README.md": README.encode()}
    for part in ("train", "validation", "test"):
        served[f"{part}.jsonl"] = "".join(lines).encode()
    packages: dict[str, SourceInput | StepInput] = {PACKAGES: ASKED[PACKAGES]}
    fetching = plans.step("fetched", "pass", packages, {"tasks": ["arc_easy"]}, type="fetch_tasks")
    fetching = fetching.model_copy(update={"network": True, "hub": True})
    with hub("allenai/ai2_arc", served) as endpoint:
        variables = {"HF_ENDPOINT": endpoint, "HF_TOKEN": TOKEN}
        where = (bench.python, bench.work, bench.material)
        plans.must_run(*where, [fetching], environment=variables)
    again = fetching.model_copy(update={"name": "again", "key": "again"})
    code, events, _ = plans.run(*where, [again], environment=variables)
    (failed,) = (event for event in events if isinstance(event, StepFailed))
    assert (code != 0, failed.cause) == (True, "network"), "the hub is gone"
    assert "the tasks arc_easy cannot be loaded" in failed.message
    assert plans.result(bench.work, "fetched").metrics == {"commits": {"allenai/ai2_arc": COMMIT}}

    params = {"tasks": ["arc_easy"]}
    inputs = {**packages, "model": plans.CHECKPOINT, "task_data": plans.output_of("fetched")}
    bench.run(plans.step("arc", "pass", inputs, params, type="run_tasks"))
    said = warm_code(bench.python, RATED, bench.material / "checkpoint", json.dumps(QUESTIONS))
    found = bench.figures("arc")["arc_easy.acc"]
    assert list(found.rows) == [float(line) for line in said.split()]


OWN_BACKEND = """
import json, sys, zipfile, tempfile
from pathlib import Path
place = tempfile.mkdtemp()
for wheel in Path(sys.argv[1]).glob("*.whl"):
    zipfile.ZipFile(wheel).extractall(place)
sys.path.append(place)
from lm_eval.api.registry import get_model
from transformers import AutoTokenizer
theirs = get_model("onnxruntime-genai")(pretrained=sys.argv[2])
right = AutoTokenizer.from_pretrained(sys.argv[3]).encode("my cake")
try:
    theirs.apply_chat_template([{"role": "user", "content": "my cake"}])
    templates = True
except NotImplementedError:
    templates = False
print(json.dumps([theirs.tok_encode("my cake") == right, templates]))
"""


@pytest.mark.slow
def test_the_librarys_own_backend_still_asks_otherwise(bench: Bench) -> None:
    # When this fails, pipeline/harness/models.py may leave it to the library.
    artifact = bench.work / "model_builder" / "output"
    arguments = (bench.material / PACKAGES, artifact, bench.material / "checkpoint")
    said = warm_code(bench.python, OWN_BACKEND, *arguments)
    assert json.loads(said.splitlines()[-1]) == [False, False]


LIMITS = """
[checks.lm_eval]
tasks = ["choice"]
task_folder = "tasks"
max_loss = 1
max_loss_to_base = 1
"""


@pytest.mark.slow
def test_a_build_ends_with_a_limit_that_is_not_kept(
    quern: Quern, runtime: str, tmp_path: Path
) -> None:
    project = quick_project(tmp_path / "project")
    rows = [(f"phrase of {runtime}", "sadness"), ("phrase 2", "fear")]  # asked by each of them
    write_tasks(project.folder / "tasks", rows)
    text = project.config.read_text()
    project.config.write_text(text + LIMITS)
    build = ("build", "--config", str(project.config), "--dist", str(tmp_path / "dist"))
    done = quern(*build, "--target", "cpu", "--runtime", runtime)
    assert done.code == 0, done.stderr[-2000:]
    found = [one for one in report_of(tmp_path / "dist")["checks"] if one["check"] == "lm_eval"]
    assert [(one["name"], one["status"]) for one in found] == [
        (f"loss_to_{other}_choice.{figure}", "passed")
        for other in ("base", "float")
        for figure in ("acc", "acc_norm")
    ]

    # Another function of the user's asks every model again; nothing else is made anew.
    helpers = project.folder / "tasks" / "helpers.py"
    helpers.write_text(helpers.read_text() + "\n# nothing else\n")
    project.config.write_text(text + LIMITS + 'worst = { "choice.acc" = 1.1 }\n')
    done = quern(*build, "--target", "cpu", "--runtime", runtime)
    assert done.code == 3
    assert "worst_choice.acc" in done.stdout + done.stderr
    passes = report_of(tmp_path / "dist")["passes"]
    again = {one["name"] for one in passes if not one["cached"]}
    assert again == {"tasks-of-base-lm_eval", "tasks-of-tuned-lm_eval", "lm_eval"}
