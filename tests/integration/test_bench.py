"""A bench through the command line: a real build, real times, and a comparison with itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from targets.bench.bench_schema import Bench
from targets.bench.read_bench import read_bench
from targets.cli.options import PROJECT
from tests.support.command import Quern
from tests.support.plans import HERE
from tests.support.quick_builds import quick_project


@pytest.mark.slow
@pytest.mark.alone
def test_bench_builds_measures_and_is_equal_to_itself(quern: Quern, tmp_path: Path) -> None:
    project = quick_project(tmp_path / "project", seed=12)
    dist = tmp_path / "dist"
    arguments = (
        *("bench", "--config", str(project.config), "--dist", str(dist), "--runtime", "venv"),
        *("--target", "cpu", "--max-seconds", "60", "--rounds", "6"),
    )
    first = quern(*arguments, "--json")
    assert first.code == 0, first.stderr
    folder = dist / "small" / "bench"
    assert {path.name for path in folder.iterdir()} == {"bench.json", "bench.md", "bench.html"}
    assert json.loads(first.stdout)["benches"] == [json.loads((folder / "bench.json").read_text())]
    bench = read_bench(folder)
    assert bench.build == "small"
    assert bench.machine.cores >= 1
    assert bench["cpu"].answers
    assert bench["cpu"].artifact.files
    assert [training.name for training in bench.training] == ["pretrain", "lora"]
    assert str(project.folder) not in (folder / "bench.html").read_text()
    assert bench["cpu"].here is not None
    old = tmp_path / "old.json"
    shutil.copyfile(folder / "bench.json", old)
    # A verdict is wrong once in twenty; that something took half as long again, never.
    judged = ("--smallest-change", "50", "--fail-on-regression")
    again = quern(*arguments, "--compare", str(old), *judged)
    assert again.code == 0, again.stdout + again.stderr
    comparison = read_bench(folder).comparison
    assert comparison is not None
    assert comparison.targets[0].same_bytes
    assert comparison.targets[0].word in ("equal", "unsure")
    times = [one for one in comparison.movements if one.kind == "latency"]
    assert {one.basis for one in times} == {"in turn"}


@pytest.mark.alone
@pytest.mark.slow
def test_an_artifact_of_twice_the_time_per_token_is_found(
    quern: Quern, toolchain_python: Path, tmp_path: Path
) -> None:
    project = quick_project(tmp_path / "project", seed=12)
    dist = tmp_path / "dist"
    arguments = ("--config", str(project.config), "--dist", str(dist), "--runtime", "venv")
    assert quern("build", *arguments).code == 0
    slow = tmp_path / "slow"
    shutil.copytree(dist / "small" / "cpu" / "model", slow)
    slower = [str(toolchain_python), str(HERE / "slower.py"), str(slow), "100", "0"]
    subprocess.run(slower, check=True)

    # As many rounds as by default: of six, one that something disturbed leaves it unsure.
    quick = ("--lengths", "128", "--max-seconds", "120", "--json")
    ran = quern("bench", *arguments, *quick, "--target", "cpu", "--baseline", str(slow))
    assert ran.code == 0, ran.stderr
    (bench,) = json.loads(ran.stdout)["benches"]
    comparison = Bench.model_validate(bench).comparison
    assert comparison is not None
    found = {one.what: one for one in comparison.movements}["each token, short prompts"]
    assert (found.word, found.basis) == ("faster", "in turn"), found
    assert found.change.value < 0.8


def test_a_bench_of_the_future_is_refused(quern: Quern, tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    old.write_text(json.dumps({"schema_version": 2}))
    ran = quern("bench", "--dist", str(tmp_path / "dist"), "--compare", str(old))
    assert ran.code == 2
    assert "newer Quern" in ran.stderr
    assert not (tmp_path / "dist").exists()


def test_without_its_libraries_the_command_says_what_to_install(
    quern: Quern, tmp_path: Path
) -> None:
    program = (
        "import importlib.util as util, runpy, sys\n"
        "real = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'matplotlib' else real(name, *more)\n"
        "sys.argv = ['targets', 'bench', '--dist', sys.argv[1]]\n"
        "runpy.run_module('targets', run_name='__main__')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=PROJECT,
        env={**os.environ, **quern.environment()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 4, ran.stderr
    assert "bench needs matplotlib" in ran.stderr
    assert "requirements-bench.lock" in ran.stderr
    assert list(tmp_path.iterdir()) == []
