"""Steps in containers of a cluster: plain children of a job, which end with it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.capabilities import program, skip
from tests.support.command import Quern
from tests.support.engine_elsewhere import in_memory
from tests.support.own_engine import OwnEngine
from tests.support.project import Project
from tests.support.slurm import PYXIS, Cluster
from tests.support.system_life import started

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture(scope="module")
def engine(toolchain_python: Path) -> Iterator[OwnEngine]:
    """This machine's engine, with an image that has what gated steps need."""
    with in_memory("1g") as folder:
        made = OwnEngine(folder)
        made.start()
        try:
            made.make_image(toolchain_python, folder / "base")
            yield made
        finally:
            made.stop()


@pytest.fixture(params=["charliecloud", "apptainer", "pyxis"])
def contained(
    request: pytest.FixtureRequest,
    project: Project,
    engine: OwnEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> Project:
    if request.param == "charliecloud":
        program("slurm", "ch-run")
    elif request.param == "apptainer" and not shutil.which("apptainer"):
        skip("slurm", "no apptainer, which Debian 12 does not have")
    elif request.param == "pyxis" and not (PYXIS and shutil.which("enroot")):
        skip("slurm", "no enroot, or QUERN_TEST_PYXIS names no plugin: Debian has neither")
    monkeypatch.setenv("DOCKER_HOST", engine.address)
    monkeypatch.setenv("USER", "root")  # charliecloud asks for it
    project.edit("[systems.hpc]\n", f'[systems.hpc]\ncontainer = "{request.param}"\n')
    return project


def test_a_build_in_containers(fresh: Quern, place: Cluster, contained: Project) -> None:
    build = started(fresh, place, contained)
    try:
        build.reach("first ...")
        (child,) = [one for one in psutil.process_iter() if _is_step(one)]
        root = Path(f"/proc/{child.pid}/root")
        assert (root / "quern" / "job" / "plan.json").is_file()
        assert not (root / "work" / "main").exists()
        done = subprocess.run(
            ["nsenter", f"--mount=/proc/{child.pid}/ns/mnt", f"--root={root}", "touch", "/opt/x"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Read-only file system" in done.stderr
        status = Path(f"/proc/{child.pid}/status").read_text()
        if "apptainer" in contained.config.read_text():  # charliecloud has a user namespace
            assert int(status.partition("CapEff:")[2].split()[0], 16) == 0
        assert build.complete() == 0, build.said
    finally:
        build.kill()
    report = json.loads((contained.folder / "dist/small/cpu/report.json").read_text())
    assert {(one["system"], one["runtime"]) for one in report["passes"]} == {("hpc", "docker")}
    assert "read-only root" not in report["passes"][0]["unconfined"]
    assert "that there is no network" in report["passes"][0]["unconfined"]


def test_ctrl_c_ends_the_container(fresh: Quern, place: Cluster, contained: Project) -> None:
    build = started(fresh, place, contained)
    try:
        build.reach("second ...")
        assert [one for one in psutil.process_iter() if _is_step(one)]
        build.process.send_signal(signal.SIGINT)
        assert build.finish(120) == 130, build.said
    finally:
        build.kill()
    assert place.left() == []
    assert not [one for one in psutil.process_iter() if _is_step(one)]


def _is_step(process: psutil.Process) -> bool:
    try:
        command = process.cmdline()
    except psutil.Error:
        return False
    return command[:1] == ["/opt/quern/bin/python"] and "/quern/job/plan.json" in command


def test_a_cluster_without_the_program(fresh: Quern, project: Project) -> None:
    if shutil.which("apptainer"):
        pytest.skip("this machine has it")
    project.edit("[systems.hpc]\n", '[systems.hpc]\ncontainer = "apptainer"\n')
    ended = fresh("build", "--config", str(project.config))
    assert ended.code == 4, ended.stderr
    assert "hpc has no `apptainer` on the path of a login" in ended.stderr
