"""Passes and checks of one's own in both runtimes, and chains that end before an ONNX model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from targets.cli.options import PROJECT
from tests.support.command import Quern
from tests.support.project import Project
from tests.support.quick_builds import cached, quick_project, report_of

EXAMPLE = PROJECT / "docs" / "examples" / "own-steps"

OWN = """
[passes.clip]
type = "clip.py:ClipOutliers"
deviations = 3

[passes.model_builder]

[passes.threads]
type = "threads.py:Threads"
count = 2

[checks.polite]
type = "checks/polite.py:Polite"
prompts = ["hello"]
words = ["fool"]
"""

THREADS = """
import json
import shutil

from pipeline.contract.frozen import Frozen
from pipeline.passes.base import BasePass


class ThreadsParams(Frozen):
    count: int


class Threads(BasePass[ThreadsParams]):
    Params = ThreadsParams
    consumes = {"artifact": "onnx"}
    produces = "onnx"
    runs_on = "target"

    def run(self, inputs, params, out_dir):
        shutil.copytree(inputs["artifact"], out_dir, dirs_exist_ok=True)
        file = out_dir / "genai_config.json"
        config = json.loads(file.read_text())
        options = config["model"]["decoder"].setdefault("session_options", {})
        options["intra_op_num_threads"] = params.count
        config["search"]["top_k"] = 7
        file.write_text(json.dumps(config))
        return {"threads": params.count, "changes": ["settings"]}
"""

COUNTED = """
from pipeline.checks.base import BaseCheck, Outcome
from pipeline.contract.frozen import Frozen
from pipeline.verdicts.verdicts import limit_verdict


class CountedParams(Frozen):
    at_most: int


class Counted(BaseCheck[CountedParams]):
    Params = CountedParams
    needs = ("artifact", "tuned_answers")
    accepts = ("onnx", "checkpoint", "adapter")

    def run(self, inputs, params):
        from pipeline.evaluation.scores import Answers

        count = len(list(inputs["artifact"].iterdir()))
        answers = len(Answers.load(inputs["tuned_answers"]).answers)
        detail = f"{answers} answers"
        return Outcome((limit_verdict("files", count, "<=", params.at_most, "files", detail),))
"""


def status(report: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["status"] for check in report["checks"]}


def short_project(folder: Path, seed: int) -> Project:
    """Return a project whose chain ends with the adapter."""
    project = quick_project(folder, seed)
    project.edit("[passes.merge]\n\n[passes.model_builder]\n", "")
    (folder / "counted.py").write_text(COUNTED)
    return project


def own_project(folder: Path, seed: int) -> Project:
    """Return a project with the example's pass and check, and a pass over the ONNX model."""
    project = quick_project(folder, seed)
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
    (folder / "threads.py").write_text(THREADS)
    project.edit("\n[passes.model_builder]\n", OWN)
    return project


@pytest.mark.parametrize(
    "runtime",
    [
        pytest.param("docker", marks=pytest.mark.engine),
        pytest.param("venv", marks=pytest.mark.slow),
    ],
)
def test_own_pass_and_check(quern: Quern, tmp_path: Path, runtime: str) -> None:
    # As in test_build: results are shared between runtimes, and with what ran there.
    project = own_project(tmp_path / "project", seed=1 if runtime == "docker" else 2)
    dist = tmp_path / "dist"
    ran = quern(
        *("build", "--config", str(project.config), "--dist", str(dist), "--runtime", runtime)
    )
    assert ran.code == 0, ran.stderr
    report = report_of(dist)
    steps = {step["name"]: step for step in report["passes"]}
    assert steps["clip"]["type"] == "clip.py:ClipOutliers"
    assert 0 < steps["clip"]["metrics"]["clipped"] < steps["clip"]["metrics"]["weights"]
    assert steps["threads"]["metrics"]["precision"] == "int4"
    assert status(report)["polite.rude_answers"] == "passed"
    assert status(report)["quantized_share"] == "passed"
    # What the pass says that it changes is not held against it, and the rest is as it was built.
    assert status(report)["same_settings"] == "unverified"
    assert status(report)["same_weights"] == status(report)["same_tokenizer"] == "passed"
    config = json.loads((dist / "small" / "cpu" / "model" / "genai_config.json").read_text())
    assert config["model"]["decoder"]["session_options"]["intra_op_num_threads"] == 2


@pytest.mark.engine
def test_a_check_of_ones_own_fails_and_travels(quern: Quern, tmp_path: Path) -> None:
    project = own_project(tmp_path / "project", seed=1)
    dist = tmp_path / "dist"
    arguments = ("--config", str(project.config), "--dist", str(dist), "--runtime", "docker")
    assert quern("build", *arguments).code == 0

    helper = project.folder / "checks" / "rude.py"
    helper.write_text(helper.read_text() + "\n\ndef rude_words(text, words):\n    return ['all']\n")
    failed = quern("build", *arguments)
    assert failed.code == 3, failed.stderr
    assert [name for name, done in cached(report_of(dist)).items() if not done] == ["polite"]
    assert status(report_of(dist))["polite.rude_answers"] == "failed"

    away = tmp_path / "away"
    shutil.move(dist / "small" / "cpu", away)
    shutil.rmtree(project.folder)
    checked = quern("check", str(away), "--runtime", "venv")
    assert checked.code == 3, checked.stderr
    found = json.loads((away / "checked.json").read_text())
    assert status(found)["polite.rude_answers"] == "failed"


@pytest.mark.engine
@pytest.mark.slow  # it makes the base of the shipped example, and trains as long as that does
def test_the_shipped_example(quern: Quern, tmp_path: Path) -> None:
    config = str(EXAMPLE / "own-steps.toml")
    ran = quern("build", "--config", config, "--dist", str(tmp_path), "--runtime", "docker")
    assert ran.code == 0, ran.stdout + ran.stderr
    report = report_of(tmp_path, "own-steps")
    assert report["status"] == "passed"
    assert status(report)["polite.rude_answers"] == "passed"
    assert not list(EXAMPLE.rglob("__pycache__"))


def test_a_chain_that_ends_with_an_adapter(quern: Quern, tmp_path: Path) -> None:
    project = short_project(tmp_path / "project", seed=2)
    counted = '\n[checks.counted]\ntype = "counted.py:Counted"\nat_most = 20\n'
    project.config.write_text(project.config.read_text() + counted)
    dist = tmp_path / "dist"
    arguments = ("--config", str(project.config), "--dist", str(dist))
    ran = quern("build", *arguments, "--runtime", "venv")
    assert ran.code == 0, ran.stderr
    report = report_of(dist)
    assert (report["artifact"], report["status"]) == ("adapter", "passed")
    assert (dist / "small" / "cpu" / "model" / "adapter_config.json").is_file()
    assert {"merge-for-checks", "evaluate-tuned"} <= cached(report).keys()
    assert status(report)["counted.files"] == "passed"
    assert "these checks do not apply to it: " in ran.stdout
    for refused in (quern("try", "hello", *arguments), quern("check", str(dist / "small" / "cpu"))):
        assert refused.code == 2
        assert "holds an adapter" in refused.stderr


def test_a_chain_that_ends_with_a_checkpoint(quern: Quern, tmp_path: Path) -> None:
    project = short_project(tmp_path / "project", seed=2)
    project.edit("[checks.quality]", "[passes.merge]\n\n[checks.quality]")
    dist = tmp_path / "dist"
    ran = quern(
        *("build", "--config", str(project.config), "--dist", str(dist), "--runtime", "venv")
    )
    assert ran.code == 0, ran.stderr
    report = report_of(dist)
    assert report["artifact"] == "checkpoint"
    assert list((dist / "small" / "cpu" / "model").glob("*.safetensors"))
    assert report["status"] == ("passed" if report["checks"] else "unverified")
    assert "a checkpoint" in ran.stdout


@pytest.mark.slow
def test_an_onnx_model_that_is_there_already(quern: Quern, tmp_path: Path) -> None:
    built = quick_project(tmp_path / "project", seed=2)
    dist = tmp_path / "dist"
    ran = quern("build", "--config", str(built.config), "--dist", str(dist), "--runtime", "venv")
    assert ran.code == 0, ran.stderr
    taken = quick_project(tmp_path / "taken")
    shutil.copytree(dist / "small" / "cpu" / "model", taken.folder / "model")
    chain = "[passes.lora]\nr = 8\nmax_steps = 8\n\n[passes.merge]\n\n[passes.model_builder]\n"
    taken.edit(chain, '[checks.graph]\nprecision = "int4"\n')
    source = '[model.pretrain]\ntext = "story.txt"\nsteps = 5\nbatch_size = 8\nlayers = 2'
    taken.edit(source, '[model]\nonnx = "model"')
    again = ("--config", str(taken.config), "--dist", str(tmp_path / "again"))
    ran = quern("build", *again, "--runtime", "venv")
    assert ran.code == 0, ran.stderr
    report = report_of(tmp_path / "again")
    # Without the checkpoint and the way it was built, nothing proves that its weights are right.
    assert report["status"] == "unverified"
    assert "failed" not in status(report).values()
    assert {"loads", "accuracy_loss"} & set(status(report)) == {"loads"}
    assert report["files"] == report_of(dist)["files"]


# What a pass of somebody else's tries, after its output was sealed and hashed.
REACHING = """
import atexit
import os
import shutil

from pipeline.contract.frozen import Frozen
from pipeline.passes.base import BasePass


class ReachingParams(Frozen):
    attempt: str = ""


class Reaching(BasePass[ReachingParams]):
    Params = ReachingParams
    consumes = {"adapter": "adapter"}
    produces = "adapter"

    def run(self, inputs, params, out_dir):
        shutil.copytree(inputs["adapter"], out_dir, dirs_exist_ok=True)
        work = out_dir.parent.parent
        output = work / out_dir.parent.name.removesuffix(".partial") / "output"
        objects = inputs["adapter"].parent.parent.parent

        def reach():
            if params.attempt == "link":
                os.symlink("/etc/hostname", output / "hostname")
            elif params.attempt == "setuid":
                output.joinpath("adapter_model.safetensors").chmod(0o4777)
            elif params.attempt == "bytes":
                output.joinpath("adapter_model.safetensors").chmod(0o644)
                output.joinpath("adapter_model.safetensors").write_bytes(b"MINE")

        atexit.register(reach)
        seen = sorted(path.name for path in objects.glob("*/*"))
        return {"seen": seen, "read": inputs["adapter"].parent.name}
"""


@pytest.mark.parametrize(
    ("attempt", "code", "said"),
    [
        ("", 0, ""),
        ("setuid", 0, ""),
        ("link", 5, "neither file nor folder: hostname"),
        ("bytes", 5, "its output is not what it listed: adapter_model.safetensors"),
    ],
)
def test_a_pass_of_ones_own_reaches_nothing_outside(
    attempt: str, code: int, said: str, quern: Quern, runtime: str, tmp_path: Path
) -> None:
    project = short_project(tmp_path / "project", seed=1 if runtime == "docker" else 2)
    (project.folder / "reaching.py").write_text(REACHING)
    table = f'\n[passes.reaching]\ntype = "reaching.py:Reaching"\nattempt = "{attempt}"\n'
    project.edit("\n[checks.quality]", f"{table}\n[checks.quality]")
    dist = tmp_path / "dist"
    ran = quern(
        *("build", "--config", str(project.config), "--dist", str(dist), "--runtime", runtime)
    )
    assert ran.code == code, ran.stderr
    if code:
        assert said in ran.stderr
        assert not (dist / "small").exists()
        return
    steps = {step["name"]: step for step in report_of(dist)["passes"]}
    assert steps["reaching"]["metrics"]["seen"] == [steps["reaching"]["metrics"]["read"]]
    shipped = dist / "small" / "cpu" / "model" / "adapter_model.safetensors"
    assert shipped.stat().st_mode & 0o7777 == 0o644
