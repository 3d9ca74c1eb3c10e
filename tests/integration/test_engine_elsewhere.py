"""Builds whose steps run on another machine's engine, behind TLS or SSH, while things go wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from targets.cli.options import PROJECT
from tests.support.authority import Authority
from tests.support.command import Quern
from tests.support.engine_elsewhere import (
    EngineElsewhere,
    SshServer,
    engine_elsewhere,
    ssh_server,
)
from tests.support.gated_builds import GatedBuild, Surroundings, gated_project
from tests.support.project import Project
from tests.support.runtime_support import in_background

pytestmark = pytest.mark.engine

PATIENCE = 30
"""Seconds: of a machine that does much else at the same time."""


@pytest.fixture(scope="module")
def engine(toolchain_python: Path) -> Iterator[EngineElsewhere]:
    with engine_elsewhere(toolchain_python) as started:
        yield started


@pytest.fixture(scope="module")
def ssh() -> Iterator[SshServer]:
    with ssh_server() as started:
        yield started


@pytest.fixture
def fresh(tmp_path: Path) -> Quern:
    return Quern(tmp_path / "cache")


@pytest.fixture
def project(tmp_path: Path, engine: EngineElsewhere) -> Project:
    """A project whose steps run on that engine."""
    made = gated_project(tmp_path / "project")
    made.config.write_text(f'host = "box"\n{made.config.read_text()}{table(engine)}')
    return made


def table(engine: EngineElsewhere, url: str = "", patience: float = PATIENCE) -> str:
    return (
        f'\n[systems.box]\ntype = "docker"\nengine = "{url or engine.url}"\n'
        f'certificates = "{engine.certificates}"\npatience = {patience}\n'
    )


class BuildElsewhere(GatedBuild):
    """A gated build whose steps wait on another machine."""

    def __init__(
        self,
        quern: Quern,
        engine: EngineElsewhere,
        arguments: Sequence[str],
        around: Surroundings = Surroundings(),  # noqa: B008 - immutable
    ) -> None:
        self._engine = engine
        super().__init__(quern, "python", arguments, around)

    def waiting(self) -> list[Path]:
        return self._engine.working()


def started(quern: Quern, engine: EngineElsewhere, project: Project, *more: str) -> BuildElsewhere:
    dist = str(project.folder / "dist")
    return BuildElsewhere(quern, engine, ["--config", str(project.config), "--dist", dist, *more])


def report_of(project: Project) -> dict[str, Any]:
    found = json.loads((project.folder / "dist/small/cpu/report.json").read_text())
    assert isinstance(found, dict)
    return found


def test_a_build_over_tls(fresh: Quern, engine: EngineElsewhere, project: Project) -> None:
    build = started(fresh, engine, project)
    try:
        assert build.complete() == 0, build.said
    finally:
        build.kill()
    assert engine.left() == []
    output = project.folder / "dist/small/cpu/model"
    assert (output / "whole").read_text() == "half of it"


def test_ctrl_c_ends_the_job_there(fresh: Quern, engine: EngineElsewhere, project: Project) -> None:
    build = started(fresh, engine, project)
    try:
        build.reach("second ...")
        build.process.send_signal(signal.SIGINT)
        assert build.finish(120) == 130, build.said
    finally:
        build.kill()
    assert engine.left() == []  # at once: it waits until that is so
    assert "ending the job" in build.said
    again = started(fresh, engine, project)
    try:
        assert again.complete() == 0, again.said
    finally:
        again.kill()
    assert re.search(r"✓ first +cached", again.said)  # what had finished was fetched


def test_a_connection_that_drops(fresh: Quern, engine: EngineElsewhere, project: Project) -> None:
    build = started(fresh, engine, project)
    try:
        build.reach("first ...")
        engine.proxy.drop()
        build.reach("second ...")
        engine.proxy.block()
        time.sleep(2)
        engine.proxy.unblock()
        assert build.complete() == 0, build.said
    finally:
        engine.proxy.unblock()
        build.kill()
    assert engine.left() == []
    for said in ("first ...", "✓ first", "second ...", "✓ second", "✓ third"):
        assert build.said.count(said) == 1, build.said


@pytest.mark.slow
def test_a_connection_that_never_comes_back_leaves_nothing_there(
    fresh: Quern, engine: EngineElsewhere, project: Project
) -> None:
    build = started(fresh, engine, project)
    try:
        build.reach("second ...")
        engine.proxy.block()
        assert build.finish(4 * PATIENCE) == 4, build.said
        assert "box does not answer any more" in build.said
        gone_within(engine, 4 * PATIENCE)
    finally:
        engine.proxy.unblock()
        build.kill()


@pytest.mark.slow
def test_a_driver_that_is_killed_leaves_nothing_there(
    fresh: Quern, engine: EngineElsewhere, project: Project
) -> None:
    build = started(fresh, engine, project)
    build.reach("second ...")
    build.kill()
    gone_within(engine, 4 * PATIENCE)


def test_a_driver_that_is_killed_is_followed_by_another(
    fresh: Quern, engine: EngineElsewhere, project: Project
) -> None:
    project.edit(f"patience = {PATIENCE}", "patience = 300")
    build = started(fresh, engine, project)
    build.reach("second ...")
    build.kill()
    (job,) = engine.left_containers()
    again = started(fresh, engine, project)
    try:
        assert again.complete() == 0, again.said
    finally:
        again.kill()
    assert "going on with the job" in again.said
    assert job.removeprefix("quern-job-") in again.said
    assert engine.left() == []


@pytest.mark.slow
def test_a_job_that_nobody_waits_for(
    fresh: Quern, engine: EngineElsewhere, project: Project
) -> None:
    build = started(fresh, engine, project, "--detach")
    assert build.finish(300) == 0, build.said
    (job,) = [one.removeprefix("quern-job-") for one in engine.left_containers()]
    assert f"nox -s attach -- {job}" in build.said
    jobs = json.loads(fresh("jobs", "--json").stdout)["jobs"]
    assert [(one["id"], one["state"], one["system"]) for one in jobs] == [(job, "running", "box")]
    time.sleep(PATIENCE + 5)  # nobody asks after it meanwhile
    with in_background(lambda: go_on(engine, 3)):
        attached = fresh("attach", job)
    assert attached.code == 0, attached.stdout + attached.stderr
    assert "✓ second" in attached.stdout
    assert engine.left() == []
    assert json.loads(fresh("jobs", "--json").stdout)["jobs"] == []
    assert (project.folder / "dist/small/cpu/model/whole").is_file()


def test_a_job_that_is_cancelled(fresh: Quern, engine: EngineElsewhere, project: Project) -> None:
    build = started(fresh, engine, project, "--detach")
    assert build.finish(300) == 0, build.said
    (job,) = [one.removeprefix("quern-job-") for one in engine.left_containers()]
    assert fresh("attach", "nothing").code == 2
    cancelled = fresh("cancel", job)
    assert cancelled.code == 0, cancelled.stderr
    assert engine.left() == []


@pytest.mark.slow
def test_inputs_are_sent_once(fresh: Quern, engine: EngineElsewhere, project: Project) -> None:
    for seed in (1, 2):
        project.config.write_text(
            f"seed = {seed}\n{project.config.read_text()}".replace(f"seed = {seed - 1}\n", "")
        )
        before = engine.proxy.sent
        build = started(fresh, engine, project)
        try:
            assert build.complete() == 0, build.said
        finally:
            build.kill()
        sent = engine.proxy.sent - before
    assert sent < 200_000  # the code of the pipeline alone has more


def go_on(engine: EngineElsewhere, steps: int) -> None:
    """Let so many steps there end, one after the other."""
    let_go: set[Path] = set()
    deadline = time.monotonic() + 300
    while len(let_go) < steps:
        assert time.monotonic() < deadline, "no step waits"
        for folder in set(engine.working()) - let_go:
            with suppress(FileNotFoundError):
                (folder / "go").write_text("")
                let_go.add(folder)
        time.sleep(0.05)


def gone_within(engine: EngineElsewhere, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while engine.left():
        assert time.monotonic() < deadline, engine.left()
        time.sleep(0.1)


def with_system(project: Project, **settings: object) -> None:
    """Have the project's steps run on that engine by other settings."""
    text = project.config.read_text().partition("\n[systems.box]")[0]
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    project.config.write_text(f'{text}\n[systems.box]\ntype = "docker"\n' + "\n".join(lines) + "\n")


def refused(fresh: Quern, project: Project, environment: dict[str, str] | None = None) -> str:
    """Return what a build says that cannot begin; nothing was sent, and it is exit code 4."""
    ended = fresh("build", "--config", str(project.config), environment=environment)
    assert ended.code == 4, ended.stdout + ended.stderr
    return ended.stderr


def test_an_engine_that_is_not_the_one_it_should_be(
    fresh: Quern, engine: EngineElsewhere, project: Project, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "stranger").client("driver")
    with_system(project, engine=engine.url, certificates=str(stranger))
    said = refused(fresh, project)
    assert "does not prove that it is box" in said
    assert f"{stranger}/ca.pem" in said
    # Its authority is known, and it does not know ours.
    shutil.copy(engine.certificates / "ca.pem", stranger)
    said = refused(fresh, project)
    assert f"refuses the certificate {stranger}/cert.pem" in said
    (stranger / "key.pem").unlink()
    assert f"there is no {stranger}/key.pem" in refused(fresh, project)


def test_ssh_that_cannot_log_in(
    fresh: Quern, engine: EngineElsewhere, ssh: SshServer, project: Project
) -> None:
    within = {"PATH": ssh.path}
    with_system(project, engine=ssh.url(engine.socket))
    try:
        for key in ("", "stranger"):
            ssh.know_host(key)
            said = refused(fresh, project, within)
            assert "Host key verification failed" in said
            assert "accept it once by hand: `ssh -p" in said
        ssh.know_host("host")
        ssh.use_key("stranger")
        said = refused(fresh, project, within)
        assert "Permission denied" in said
        assert "authorized_keys" in said
        ssh.use_key("user")
        with_system(project, engine=ssh.url(Path("/run/nowhere.sock")))
        assert "no engine answers there" in refused(fresh, project, within)
    finally:
        ssh.know_host("host")
        ssh.use_key("user")


@pytest.mark.slow
def test_a_build_over_ssh_whose_sessions_end(
    fresh: Quern, engine: EngineElsewhere, ssh: SshServer, project: Project
) -> None:
    with_system(project, engine=ssh.url(engine.socket), patience=PATIENCE)
    dist = str(project.folder / "dist")
    arguments = ["--config", str(project.config), "--dist", dist]
    build = BuildElsewhere(fresh, engine, arguments, Surroundings({"PATH": ssh.path}))
    try:
        build.reach("first ...")
        ssh.drop()
        assert build.complete() == 0, build.said
    finally:
        build.kill()
    assert engine.left() == []
    assert {step["system"] for step in report_of(project)["passes"]} == {"box"}
    assert "steps made on box" in build.said


def test_an_engine_of_the_environment_that_is_elsewhere(
    fresh: Quern, engine: EngineElsewhere, tmp_path: Path
) -> None:
    project = gated_project(tmp_path / "project")
    # The engine is on this machine, and would see what is here. This folder only the driver sees.
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    hide = 'mount -t tmpfs none "$0" && cp -r "$1" "$0" && shift && exec "$@"'
    config = hidden / "project" / project.config.name
    plan = fresh.command("plan", "--config", str(config), "--cache", str(hidden / "cache"))
    around = {
        "DOCKER_HOST": engine.url,
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": str(engine.certificates),
    }
    planned = subprocess.run(
        ["unshare", "--mount", "sh", "-c", hide, hidden, project.folder, *plan],
        cwd=PROJECT,
        env=fresh.environment(around),
        capture_output=True,
        text=True,
        check=False,
    )
    assert planned.returncode == 0, planned.stderr
    assert f"in containers on 127.0.0.1 ({engine.url}): the image of cpu is there" in planned.stdout


def test_a_system_that_is_not_in_the_config(fresh: Quern, project: Project) -> None:
    ended = fresh("plan", "--config", str(project.config), "--system", "bax")
    assert ended.code == 2
    assert "there is no system 'bax'" in ended.stderr
    assert "did you mean 'box'?" in ended.stderr


def test_what_depends_on_this_machine_is_refused(fresh: Quern, project: Project) -> None:
    text = project.config.read_text()
    project.config.write_text(f'{text}\n[resources]\narithmetic = "native"\n')
    ended = fresh("plan", "--config", str(project.config))
    assert ended.code == 2
    assert "resources.arithmetic: the bytes would be those of box's CPU" in ended.stderr
    assert fresh("plan", "--config", str(project.config), "--system", "local").code == 0


def test_a_connection_that_drops_while_inputs_are_sent(
    fresh: Quern, engine: EngineElsewhere, project: Project
) -> None:
    engine.forget_inputs()
    before = engine.proxy.dropped
    engine.proxy.drop_after(400_000)
    build = started(fresh, engine, project)
    try:
        assert build.complete() == 0, build.said
    finally:
        build.kill()
    assert engine.proxy.dropped == before + 1
    assert engine.left() == []


@pytest.mark.slow
def test_a_connection_that_drops_while_results_are_fetched(
    fresh: Quern, engine: EngineElsewhere, project: Project
) -> None:
    before = engine.proxy.dropped
    build = started(fresh, engine, project)
    try:
        build.wait_for("first ...")
        engine.proxy.drop_after_received(8 << 20)
        build.let_go("large")
        assert build.complete() == 0, build.said
    finally:
        build.kill()
    assert engine.proxy.dropped == before + 1
    assert build.said.count("✓ first") == 1
    assert engine.left() == []


def test_too_little_room_is_said_before_anything_is_sent(
    fresh: Quern, engine: EngineElsewhere, project: Project
) -> None:
    free = shutil.disk_usage(engine.folder).free
    filler = engine.folder / "filler"
    try:
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free - (32 << 20))
        said = refused(fresh, project)
    finally:
        filler.unlink()
    assert "too little room on box" in said
    assert "nothing was sent" in said
    assert engine.left() == []


@pytest.mark.slow
def test_an_engine_that_stops(fresh: Quern, engine: EngineElsewhere, project: Project) -> None:
    build = started(fresh, engine, project)
    try:
        build.reach("second ...")
        engine.kill()
        time.sleep(1)
        engine.start()
        assert build.finish(4 * PATIENCE) == 4, build.said
    finally:
        build.kill()
    assert "is gone from box" in build.said
    again = started(fresh, engine, project)
    try:
        assert again.complete() == 0, again.said
    finally:
        again.kill()
    assert re.search(r"✓ first +cached", again.said)
    gone_within(engine, 4 * PATIENCE)
