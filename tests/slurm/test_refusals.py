"""What a cluster can refuse, and what may happen to a job there: each is one sentence with what to
do, and leaves no job (the fixture ``place`` looks)."""

from __future__ import annotations

import os
import re
import stat
import time
from pathlib import Path

import pytest

from pipeline.contract.plan import Plan
from pipeline.contract.schema import SlurmSystem as SlurmTable
from targets.digests import Digests
from targets.runtimes.workspace import PIPELINE_DIR
from targets.systems.slurm.slurm_system import SlurmSystem
from targets.systems.task import Limits, Material, Task
from targets.systems.tree import tree_of
from targets.target import load_target
from targets.toolchain.platforms import this_machine
from tests.support.command import Quern
from tests.support.engine_elsewhere import ssh_server
from tests.support.project import Project
from tests.support.slurm import Cluster
from tests.support.small_wheels import make_wheel, toolchain
from tests.support.system_life import started


def refused(fresh: Quern, project: Project, table: str, code: int = 4) -> str:
    """Return what a build says that cannot begin with ``table``."""
    text = project.config.read_text().partition("\n[systems.hpc]")[0]
    project.config.write_text(text + table)
    ended = fresh("build", "--config", str(project.config))
    assert ended.code == code, ended.stdout + ended.stderr
    return ended.stderr


def test_what_cannot_run_there_is_said(
    fresh: Quern, place: Cluster, project: Project, tmp_path: Path
) -> None:
    said = refused(fresh, project, place.table(partition="gpus"))
    assert "has no partition gpus (it has: main, short)" in said
    said = refused(fresh, project, place.table(partition="short"))
    assert "gives a job 0.166667 hours, `max_hours` asks for 1" in said
    said = refused(fresh, project, place.table(gres="tpu:1"))
    assert "Slurm of hpc refuses the job: " in said
    assert "generic resource (gres) specification" in said
    locked = tmp_path / "file"
    locked.touch()
    said = refused(fresh, project, place.table(folder=f"{locked}/there", python="nopython"))
    assert "cannot run `nopython` with venv and ensurepip" in said
    said = refused(fresh, project, place.table(options=["-A physics"]), code=2)
    assert "write an option of sbatch, such as --account=physics" in said


@pytest.mark.slow
def test_a_login_machine_without_slurm(
    fresh: Quern, place: Cluster, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", str(place.folder / "none"))
    said = refused(fresh, project, place.table(patience=5))
    assert "Slurm cannot be used on hpc" in said or "hpc does not answer" in said


@pytest.mark.slow
def test_a_full_partition_is_waited_for(fresh: Quern, place: Cluster, project: Project) -> None:
    (place.shared / "hold.sh").write_text("#!/bin/sh\nsleep 600\n")
    hold = ["--nodes=2", "--exclusive", "--output=/dev/null", str(place.shared / "hold.sh")]
    number = place.asked("sbatch", "--parsable", *hold).strip()
    while "RUNNING" not in place.asked("squeue", "--noheader", "--format=%T", f"--jobs={number}"):
        time.sleep(0.1)
    build = started(fresh, place, project)
    try:
        build.wait_for("waits (Resources)")
        place.asked("scancel", number)
        assert build.complete() == 0, build.said
    finally:
        build.kill()


@pytest.mark.slow
def test_a_job_that_will_never_start(fresh: Quern, place: Cluster, project: Project) -> None:
    text = project.config.read_text().partition("\n[systems.hpc]")[0]
    project.config.write_text(text + place.table(options=["--hold"]))
    build = started(fresh, place, project)
    try:
        assert build.finish(120) == 4, build.said
    finally:
        build.kill()
    assert "will not start the job: JobHeldUser" in build.said


@pytest.mark.slow
def test_a_node_that_dies(fresh: Quern, place: Cluster, project: Project) -> None:
    build = started(fresh, place, project)
    try:
        build.reach("second ...")
        (node,) = place.asked("squeue", "--noheader", "--format=%N").split()
        place.kill_node(node)
        try:
            assert build.finish(200) == 4, build.said
        finally:
            place.start_node(node)
            place.wait_for_nodes()
    finally:
        build.kill()
    assert "the node that ran the job failed (NODE_FAIL)" in build.said
    again = started(fresh, place, project)
    try:
        assert again.complete() == 0, again.said
    finally:
        again.kill()
    assert re.search(r"✓ first +cached", again.said)


@pytest.mark.slow
def test_a_job_that_takes_too_long(fresh: Quern, place: Cluster, project: Project) -> None:
    project.edit("max_hours = 1", "max_hours = 0.02")  # Slurm counts in minutes
    build = started(fresh, place, project)
    try:
        build.wait_for("first ...")
        assert build.finish(300) == 4, build.said
    finally:
        build.kill()
    assert "longer than the 0.02 hours of `max_hours` (TIMEOUT)" in build.said


@pytest.mark.slow
def test_a_controller_that_is_away_for_a_while(
    fresh: Quern, place: Cluster, project: Project
) -> None:
    build = started(fresh, place, project)
    try:
        build.reach("second ...")
        place.stop_controller()
        time.sleep(12)
        place.start_controller()
        assert build.complete() == 0, build.said
    finally:
        build.kill()


def test_secrets_are_in_a_file_of_the_users_alone(place: Cluster, tmp_path: Path) -> None:
    loaded = load_target("cpu").toolchain(this_machine())
    table = SlurmTable(type="slurm", folder=str(place.shared), partition="main", max_hours=1)
    system = SlurmSystem("hpc", table, tmp_path)
    code = tree_of(PIPELINE_DIR, Digests(tmp_path / "digests.sqlite"))
    task = Task(
        plan=Plan(build="small", steps=(), origin={}),
        toolchain=loaded.digest,
        code=code.digest,
        limits=Limits(step_seconds=60),
        secrets=("HF_TOKEN",),
    )
    os.environ["PLANTED_VARIABLE"] = "of-this-shell"
    secrets = {"HF_TOKEN": "hf_PLANTED"}
    job = system.submit("secret", loaded, task, Material({code.digest: code}, secrets), print)
    try:
        (folder,) = place.job_folders()
        file = folder / "variables.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert "hf_PLANTED" in file.read_text()
        for one in folder.iterdir():
            if one.is_file() and one != file:
                assert "hf_PLANTED" not in one.read_text()
        shown = place.asked("scontrol", "show", "job", "--details")
        shown += place.asked("scontrol", "write", "batch_script", job._found().number, "-")
        assert "hf_PLANTED" not in shown
    finally:
        del os.environ["PLANTED_VARIABLE"]
        job.cancel()
    assert not folder.exists()


@pytest.mark.slow
def test_an_environment_is_made_there_of_the_locked_wheels(
    place: Cluster, tmp_path: Path, toolchain_python: Path
) -> None:
    wheel = make_wheel(tmp_path / "cache" / "wheels")
    small = toolchain(tmp_path / "images", wheel)
    (tmp_path / "base").symlink_to(PIPELINE_DIR.parent / "images" / "base")
    python = os.path.realpath(toolchain_python)
    shared = str(place.shared)
    table = SlurmTable(type="slurm", folder=shared, partition="main", max_hours=1, python=python)
    system = SlurmSystem("hpc", table, tmp_path / "cache")
    assert "is made there" in system.require(small)
    record = system.prepare(small, print)
    assert record.runtime == "venv"
    made = place.shared / "toolchains" / small.digest[:12]
    assert (made / "lib/python3.11/site-packages/tiny.py").read_text() == "x = 1\n"
    assert "is there" in system.require(small)
    assert [one.name for one in made.parent.glob("*.*")] == []  # nothing half made


@pytest.mark.slow
def test_a_build_over_ssh_whose_sessions_end(
    fresh: Quern, place: Cluster, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ssh_server(f"SetEnv SLURM_CONF={place.config}\n") as ssh:
        monkeypatch.setenv("PATH", ssh.path)
        monkeypatch.delenv("SLURM_CONF")
        project.edit("[systems.hpc]\n", f'[systems.hpc]\nlogin = "{ssh.login}"\npatience = 60\n')
        build = started(fresh, place, project)
        try:
            build.reach("first ...")
            ssh.drop()
            assert build.complete() == 0, build.said
        finally:
            build.kill()
        assert "Slurm: main of ssh://root@127.0.0.1" in build.said
        ssh.use_key("stranger")
        nothing = Quern(project.folder / "nothing")
        ended = nothing("plan", "--config", str(project.config))
    assert "Permission denied" in ended.stdout + ended.stderr


@pytest.mark.slow
def test_doctor_examines_the_cluster(fresh: Quern, place: Cluster, project: Project) -> None:
    nowhere = "http://127.0.0.1:9"
    alone = {"PIP_INDEX_URL": nowhere, "HF_ENDPOINT": nowhere, "DOCKER_HOST": "unix:///nowhere"}
    asked = ("doctor", "--target", "cpu", "--config", str(project.config))
    said = fresh(*asked, environment={**alone, **place.environment}).stdout
    assert "2 nodes of 2 CPUs; the environment of cpu is there" in said.replace("\n", " ")
