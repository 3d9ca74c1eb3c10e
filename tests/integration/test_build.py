"""The main job through the command line: real containers, real training, real ONNX models."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import psutil
import pytest

from targets.cli.options import PROJECT
from targets.report.judged import judge
from targets.report.report_schema import Report
from targets.runtimes.docker import RUN_LABEL
from targets.runtimes.driver import Driver, driver_of
from tests.support.command import Quern
from tests.support.project import Project
from tests.support.quick_builds import cached, quick_project, report_of
from tests.support.running_builds import SAYS_WHERE_IT_STANDS, Running, slow_project


@pytest.fixture
def project(tmp_path: Path, runtime: str) -> Project:
    # Results are shared between runtimes and tests: seeds that none before has run all steps.
    return quick_project(tmp_path / "project", seed=1 if runtime == "docker" else 22)


@pytest.mark.parametrize(
    "runtime",
    [
        pytest.param("docker", marks=pytest.mark.engine),
        pytest.param("venv", marks=pytest.mark.slow),  # test_without_engine.py builds in one too
    ],
    indirect=True,
)
def test_build_rebuild_edit_and_limit(
    quern: Quern, project: Project, runtime: str, tmp_path: Path
) -> None:
    dist = tmp_path / "dist"
    arguments = ("--config", str(project.config), "--dist", str(dist), "--runtime", runtime)

    first = quern("build", *arguments, "--json")
    assert first.code == 0, first.stderr
    (report,) = json.loads(first.stdout)["builds"]
    assert report == report_of(dist)
    assert report["status"] == "passed"
    assert report["toolchain"]["runtime"] == runtime
    assert report["toolchain"]["versions"]["torch"].startswith("2.")
    assert bool(report["toolchain"]["base_image"]) == (runtime == "docker")
    assert {"base", "tuned", "artifact", "metric", "samples"} <= report["quality"].keys()
    assert report["latency"]["prompts"] >= 64
    assert not any(cached(report).values())
    assert all(one.words for one in judge(Report.model_validate(report))), "each is explained"
    rows = project.data.read_text("utf-8").splitlines()
    for wrong in report["quality"]["wrong"]:
        row = json.loads(rows[int(wrong["place"].rpartition(":")[2]) - 1])
        assert (wrong["expected"], row["phrase"] in wrong["asked"]) == (row["tone"], True)
    share, count = report["quality"]["artifact"], len(report["quality"]["wrong"])
    assert count == min(round((1 - share) * report["quality"]["samples"]), 100)
    model = dist / "small" / "cpu" / "model"
    assert {file["path"] for file in report["files"]} == {
        str(path.relative_to(model)) for path in model.rglob("*") if path.is_file()
    }
    owners = {path.stat().st_uid for path in dist.rglob("*")}
    assert owners == {os.getuid()}
    assert str(project.folder) not in first.stdout
    places = [str(place).encode() for place in (tmp_path, quern.cache, PROJECT)]
    assert not [
        path
        for path in dist.rglob("*")
        if path.is_file() and any(place in path.read_bytes() for place in places)
    ]

    again = quern("build", *arguments, environment={"DOCKER_HOST": "unix:///nowhere"})
    assert again.code == 0, again.stderr
    assert all(cached(report_of(dist)).values())

    project.data.write_text(project.data.read_text().replace("number 7", "number seven", 1))
    edited = quern("build", *arguments)
    assert edited.code == 0, edited.stderr
    assert cached(report_of(dist))["pretrain"]
    assert not any(done for name, done in cached(report_of(dist)).items() if name != "pretrain")

    project.edit("[checks.latency]", "[checks.latency]\ntoken_ms = 0.0001")
    missed = quern("build", *arguments, "--json")
    assert missed.code == 3, missed.stderr
    said = json.loads(missed.stdout)
    assert (said["exit_code"], said["error"]) == (3, "a check failed for cpu")
    assert said["builds"] == [report_of(dist)]
    assert report_of(dist)["status"] == "failed"
    failed = [check for check in report_of(dist)["checks"] if check["status"] == "failed"]
    assert [check["name"] for check in failed] == ["token_ms"]


def test_bad_config_changes_nothing(tmp_path: Path) -> None:
    project = quick_project(tmp_path / "project")
    project.edit("r = 8", "rr = 8")
    project.edit("tone.jsonl", "nothing.jsonl")
    quern = Quern(tmp_path / "cache")
    ran = quern("build", "--config", str(project.config), "--dist", str(tmp_path / "dist"))
    assert ran.code == 2
    assert f"{project.config}:18: passes.lora.rr" in ran.stderr
    assert "nothing.jsonl" in ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["project"]


def test_unknown_target_is_named(quern: Quern) -> None:
    ran = quern("build", "--target", "cpuu")
    assert ran.code == 2
    assert "did you mean 'cpu'?" in ran.stderr


@pytest.fixture
def running(quern: Quern, tmp_path: Path) -> Iterator[Any]:
    processes: list[subprocess.Popen[str]] = []

    def start(project: Project, runtime: str) -> Running:
        process = subprocess.Popen(
            quern.command(
                "build",
                *("--config", str(project.config), "--dist", str(tmp_path / "dist")),
                *("--runtime", runtime),
            ),
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=quern.environment(SAYS_WHERE_IT_STANDS),
        )
        processes.append(process)
        return Running(process)

    yield start
    for process in processes:
        process.kill()


def containers(client: docker.DockerClient) -> dict[Driver, Any]:
    """Return Quern's containers by their driver: other tests may run builds meanwhile."""
    found = client.containers.list(all=True, filters={"label": RUN_LABEL}, ignore_removed=True)
    drivers = {driver_of(container.labels[RUN_LABEL]): container for container in found}
    return {driver: container for driver, container in drivers.items() if driver is not None}


def left_behind(client: docker.DockerClient) -> list[Any]:
    """Return the containers whose driver has ended."""
    return [container for driver, container in containers(client).items() if driver.gone]


def training_container(client: docker.DockerClient, build: Running) -> Any:
    found = containers(client).items()
    (own,) = [container for driver, container in found if driver.pid == build.process.pid]
    return own


@pytest.mark.engine
@pytest.mark.slow  # tests/attack/test_life_cycle_machine.py has one killed for memory in every run
def test_killed_container_is_said_and_the_next_run_resumes(
    quern: Quern, running: Any, docker_client: docker.DockerClient, tmp_path: Path
) -> None:
    project = slow_project(tmp_path / "project", seed=3)
    build = running(project, "docker")
    build.wait_for("lora ...")
    time.sleep(2)
    training_container(docker_client, build).kill()
    assert build.finish(30) == 5
    assert "killed" in "".join(build.lines)
    assert left_behind(docker_client) == []
    assert not (tmp_path / "dist").exists()

    project.edit("max_steps = 100000\nkeep = 'last'", "max_steps = 8")
    dist = tmp_path / "dist"
    resumed = quern("build", "--config", str(project.config), "--dist", str(dist))
    assert resumed.code == 0, resumed.stderr
    assert cached(report_of(dist))["pretrain"]
    assert not cached(report_of(dist))["lora"]


@pytest.mark.engine
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_removes_the_container_within_ten_seconds(
    running: Any, docker_client: docker.DockerClient, tmp_path: Path, number: signal.Signals
) -> None:
    build = running(slow_project(tmp_path / "project", seed=4), "docker")
    build.wait_for("lora ...")
    build.process.send_signal(number)
    assert build.finish(10) == 130
    assert left_behind(docker_client) == []
    assert not (tmp_path / "dist").exists()


def test_interrupt_in_a_virtual_environment_leaves_no_process(running: Any, tmp_path: Path) -> None:
    build = running(slow_project(tmp_path / "project", seed=4), "venv")
    build.wait_for("lora ...")
    started = psutil.Process(build.process.pid).children(recursive=True)
    assert any("pipeline" in process.cmdline() for process in started)
    build.process.send_signal(signal.SIGINT)
    assert build.finish(10) == 130
    assert not [process for process in started if process.is_running()]


@pytest.mark.engine
@pytest.mark.slow  # tests/attack/test_life_cycle_machine.py kills one in every run
def test_driver_killed_outright_loses_no_finished_step(
    quern: Quern, running: Any, docker_client: docker.DockerClient, tmp_path: Path
) -> None:
    project = slow_project(tmp_path / "project", seed=6)
    build = running(project, "docker")
    build.wait_for("lora ...")
    build.process.kill()
    build.finish(10)

    project.edit("max_steps = 100000\nkeep = 'last'", "max_steps = 8")
    dist = tmp_path / "dist"
    resumed = quern("build", "--config", str(project.config), "--dist", str(dist))
    assert resumed.code == 0, resumed.stderr
    assert cached(report_of(dist))["pretrain"]
    assert left_behind(docker_client) == []


@pytest.mark.engine
def test_too_little_memory_is_said(
    quern: Quern, docker_client: docker.DockerClient, tmp_path: Path
) -> None:
    project = quick_project(tmp_path / "project", seed=7)
    project.config.write_text(project.config.read_text() + '\n[resources]\nmemory = "150m"\n')
    ran = quern("build", "--config", str(project.config), "--dist", str(tmp_path / "dist"))
    assert ran.code == 5
    assert "memory" in ran.stderr
    assert left_behind(docker_client) == []


@pytest.mark.engine
def test_two_builds_of_the_same_thing_work_once(running: Any, tmp_path: Path) -> None:
    project = quick_project(tmp_path / "project", seed=8)
    first, second = running(project, "docker"), running(project, "docker")
    assert first.finish(600) == 0, "".join(first.lines)
    assert second.finish(600) == 0, "".join(second.lines)
    waited = [build for build in (first, second) if "waiting" in "".join(build.lines)]
    assert len(waited) == 1
    assert "lora ..." not in "".join(waited[0].lines)


@pytest.mark.slow
def test_steps_that_are_the_same_run_once(quern: Quern, tmp_path: Path) -> None:
    """A model that is only quantized is its own tuned model, and a check may be there twice."""
    project = quick_project(tmp_path / "project", seed=31)
    project.edit("[passes.lora]\nr = 8\nmax_steps = 8\n\n[passes.merge]\n\n", "")
    project.edit(
        "[checks.generation]",
        '[checks.again]\ntype = "generation"\nmin_ended = 0\n'
        "max_degenerate = 1\nmax_broken = 1\n\n[checks.generation]",
    )
    dist = tmp_path / "dist"
    arguments = ("--config", str(project.config), "--dist", str(dist), "--runtime", "venv")
    ran = quern("build", *arguments)
    assert ran.code == 0, ran.stdout + ran.stderr
    assert "✓ evaluate-tuned       the same as evaluate-base, so it runs once" in ran.stdout
    report = report_of(dist)
    assert report["quality"]["base"] == report["quality"]["tuned"]
    names = {check["name"] for check in report["checks"]}
    assert {"answers_end", "again.answers_end"} <= names
    assert all(check["status"] == "passed" for check in report["checks"])

    # Its result is that of another name from then on.
    project.edit("[checks.again]", "[checks.more]")
    renamed = quern("build", *arguments)
    assert renamed.code == 0, renamed.stderr
    assert all(cached(report_of(dist)).values())
    assert "more.answers_end" in {check["name"] for check in report_of(dist)["checks"]}
