"""The shipped example, whole, in a container: what README's first command promises."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
from pathlib import Path

import onnx
import pytest

from pipeline.contract.plan import object_path
from targets.cli.options import DEFAULT_CONFIG, PROJECT
from tests.support.command import Quern
from tests.support.object_stores.moto import moto

NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere"}


def bytes_of(quern: Quern, key: str) -> int:
    """Return what the step with this key left on the disk."""
    files = (quern.cache / "objects" / object_path(key)).rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


@pytest.mark.engine
def test_shipped_example_meets_its_promise(quern: Quern, tmp_path: Path) -> None:
    dist = tmp_path / "dist"
    ran = quern("build", "--dist", str(dist), "--runtime", "docker")
    assert ran.code == 0, ran.stdout + ran.stderr
    report = json.loads((dist / "tone" / "cpu" / "report.json").read_text())
    quality = report["quality"]
    assert report["status"] == "passed"
    assert quality["metric"] == "accuracy"
    assert quality["samples"] >= 200
    assert quality["artifact"] >= 0.90
    assert quality["tuned"] - quality["artifact"] <= 0.02
    assert 0.10 <= quality["base"] <= 0.45
    assert re.search(r"accuracy [\d.]+ (→|->) [\d.]+ (→|->) [\d.]+ %", ran.stdout), ran.stdout

    graph = onnx.load(dist / "tone" / "cpu" / "model" / "model.onnx").graph  # with its weights
    assert sum(len(tensor.raw_data) for tensor in graph.initializer) > 1_000_000

    # The plan of somebody who has nothing yet says how much room all this takes.
    planned = quern("plan", "--cache", str(tmp_path / "cache"), "--json")
    expected = json.loads(planned.stdout)["plans"][0]["disk"]
    written = {step["name"]: bytes_of(quern, step["key"]) for step in report["passes"]}
    assert sum(written.values()) == pytest.approx(expected["kept"], rel=0.2)
    assert written["model_builder"] == pytest.approx(expected["artifact"], rel=0.2)

    asked = quern("try", "cricket is a wonderful sport!", "--dist", str(dist))
    assert asked.code == 0, asked.stderr
    assert asked.stdout.startswith("joy")
    assert "tokens/s" in asked.stdout

    # It is asked here, also where the environment names an engine of another machine.
    another = {"DOCKER_HOST": "ssh://somebody@nowhere.invalid"}
    asked = quern("try", "my heart is broken", "--dist", str(dist), environment=another)
    assert asked.code == 0, asked.stderr
    why, answer, *_ = asked.stdout.splitlines()
    assert "is another machine's (nowhere.invalid" in why
    assert answer.startswith("sadness")

    # The question can come through a pipe; and on a terminal, line by line.
    piped = subprocess.run(
        quern.command("try", "--json", "--dist", str(dist)),
        cwd=PROJECT,
        env=quern.environment(),
        input="cricket is a wonderful sport!\n",
        capture_output=True,
        text=True,
        check=False,
    )
    answer = json.loads(piped.stdout)["answer"]
    assert answer["text"] == "joy"
    shell, terminal = pty.openpty()
    os.write(shell, b"cricket is a wonderful sport!\nmy heart is broken\n\n")
    talked = subprocess.run(
        quern.command("try", "--dist", str(dist)),
        cwd=PROJECT,
        env=quern.environment(),
        stdin=terminal,
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(terminal)
    os.close(shell)
    assert talked.returncode == 0, talked.stderr
    assert talked.stdout.startswith("you: joy\n")
    assert talked.stdout.count("you: ") == 3


@pytest.mark.slow
@pytest.mark.engine
def test_a_second_clone_takes_all_of_it_from_what_the_first_one_brings(
    quern: Quern, tmp_path: Path
) -> None:
    ran = quern("build", "--dist", str(tmp_path / "dist"), "--runtime", "docker", "--json")
    report = json.loads(ran.stdout)["builds"][0]
    with moto(quern.cache / "object_stores", tmp_path / "moto") as server:
        first, second = (tmp_path / name / "configs" for name in ("first", "second"))
        for configs in (first, second):
            shutil.copytree(DEFAULT_CONFIG.parent, configs)
            with (configs / DEFAULT_CONFIG.name).open("a") as config:
                config.write(f'\n[cache]\nremote = "{server.remote}/tone"\npush = true\n')
        built = {}
        for configs, clone in ((first, quern), (second, Quern(tmp_path / "empty"))):
            options = ("--config", str(configs / DEFAULT_CONFIG.name), "--json")
            made = clone(
                *("build", "--dist", str(configs.parent / "dist"), *options),
                environment={**server.environment, **NO_ENGINE},
            )
            assert made.code == 0, made.stderr
            built[clone] = json.loads(made.stdout)["builds"][0]
        assert {step["reason"] for step in built[clone]["passes"]} == {"cached (shared)"}
        assert built[clone]["files"] == report["files"]
        assert built[clone]["status"] == "passed"
