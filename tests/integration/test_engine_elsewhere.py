"""Builds whose steps run on another machine's engine, behind TLS or SSH, while things go wrong."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from docker import DockerClient
from docker.errors import ImageNotFound

from pipeline.contract.plan import Plan, Step
from targets.cache import Cache
from targets.cli.options import PROJECT
from targets.config.load import load_config
from targets.devices.device import Device
from targets.digests import Digests
from targets.errors import EnvironmentUnable
from targets.place import Place
from targets.planner.planner import Planner
from targets.runtimes.heartbeat import PATIENCE as SILENCE
from targets.runtimes.heartbeat import SILENT
from targets.runtimes.runtime import Mount, RunRequest
from targets.systems.engine.address import EngineAddress
from targets.systems.engine.images import build_image, output_of, send_image
from targets.systems.engine.inputs import HELPER_LABEL, send, whole_volumes
from targets.systems.engine.link import Link
from targets.systems.find import system_of
from targets.systems.job_notes import JobNotes
from targets.systems.left_outputs import LeftOutputs
from targets.systems.system_runtime import SystemRuntime
from targets.systems.tree import Tree, tree_of
from targets.target import load_target
from targets.toolchain.image import PYTHON, ensure_image, expected_image, find_image
from targets.toolchain.platforms import this_machine
from targets.toolchain.registry.image_registry import ImageRegistry
from targets.toolchain.registry.settings import RegistrySettings
from targets.toolchain.toolchain import Room
from tests.support.authority import Authority
from tests.support.capabilities import program
from tests.support.command import Quern
from tests.support.engine_elsewhere import (
    EngineElsewhere,
    SshServer,
    engine_elsewhere,
    in_memory,
    ssh_server,
)
from tests.support.gated_builds import (
    GatedBuild,
    Surroundings,
    gated_project,
    with_resuming_step,
)
from tests.support.other_systems.system import APPLE, WINDOWS, System
from tests.support.project import Project
from tests.support.registries import PROGRAM, registry
from tests.support.runtime_support import in_background
from tests.support.small_toolchains import SMALL, small_toolchain
from tests.support.system_life import Life, LifeInBrief

pytestmark = pytest.mark.engine

PATIENCE = 30
"""Seconds: of a machine that does much else at the same time."""
GIVEN_UP = 2 * SILENCE
"""Seconds within which a build gives up an engine that stands still."""


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


class TestLife(LifeInBrief, Life):
    @pytest.fixture
    def place(self, engine: EngineElsewhere) -> EngineElsewhere:
        return engine

    @pytest.fixture
    def project(self, project: Project) -> Project:
        project.edit(f"patience = {PATIENCE}", "patience = 300")  # a driver is missed for a while
        return project


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


class Attached(BuildElsewhere):
    """A build that is gone on with by the ID of its job."""

    command = "attach"

    def __init__(self, quern: Quern, engine: EngineElsewhere, job: str) -> None:
        super().__init__(quern, engine, [job])


def started(quern: Quern, engine: EngineElsewhere, project: Project, *more: str) -> BuildElsewhere:
    dist = str(project.folder / "dist")
    return BuildElsewhere(quern, engine, ["--config", str(project.config), "--dist", dist, *more])


def report_of(project: Project) -> dict[str, Any]:
    found = json.loads((project.folder / "dist/small/cpu/report.json").read_text())
    assert isinstance(found, dict)
    return found


def test_an_output_that_stays_there_is_read_there(
    engine: EngineElsewhere, project: Project, tmp_path: Path
) -> None:
    loaded = load_config(project.config, [load_target("cpu")])
    place = Place(load_target("cpu").toolchain(this_machine()), Device("cpu"))
    cache = Cache(tmp_path / "cache")
    plan = Planner(loaded, cache, place, place).plan()
    table = loaded.config.systems["box"]
    system = system_of("box", table, cache.root)
    left = LeftOutputs(cache.root, system)
    runtime = SystemRuntime(system, JobNotes(cache.root), print)
    runtime.prepare(place.toolchain, print)
    first, second = (plan[name].step for name in ("first", "second"))

    def run(step: Step, act: str, *stay: Step) -> Path:
        work, objects = (tmp_path / step.name / name for name in ("work", "objects"))
        for folder in (work, objects):
            folder.mkdir(parents=True, exist_ok=True)
        request = RunRequest(
            plan=Plan(build="small", steps=(step,), origin={"runtime": "docker"}),
            mounts=(Mount("work", work, writable=True), Mount("objects", objects), *plan.mounts),
            log=tmp_path / "log",
            may_stay=frozenset(one.key for one in stay),
        )
        with let_go(engine, act):
            runtime.run(place.toolchain, request, lambda _event: None)
        return work / step.key

    assert not run(first, "private", first).exists()
    found = left.at_hand(first.key)
    assert found is not None
    assert left.is_there(first.key)
    sha256 = hashlib.sha256(b"half of it").hexdigest()
    assert [(file.path, file.sha256) for file in found.result.files] == [("whole", sha256)]
    assert found.result.origin == {"runtime": "docker"}
    assert (run(second, "copy") / "output" / "before").read_text() == "half of it"
    engine.forget_inputs()
    assert not left.is_there(first.key)
    shutil.rmtree(tmp_path / "second")
    with pytest.raises(EnvironmentUnable, match="what an earlier step left on box was removed"):
        run(second, "copy")
    with filled(engine, 120 << 20):
        # There is no room for a copy: it comes here.
        assert (run(first, "most", first) / "output" / "most").stat().st_size > 32 << 20
    system.close()
    assert engine.left() == []


@contextmanager
def filled(engine: EngineElsewhere, free: int) -> Iterator[None]:
    """Leave so many bytes on the engine's disk while the block runs."""
    filler = engine.folder / "filler"
    try:
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(engine.folder).free - free)
        yield
    finally:
        filler.unlink()


def test_a_build_over_tls(fresh: Quern, engine: EngineElsewhere, project: Project) -> None:
    build = started(fresh, engine, project)
    try:
        assert build.complete() == 0, build.said
    finally:
        build.kill()
    assert engine.left() == []
    output = project.folder / "dist/small/cpu/model"
    assert (output / "whole").read_text() == "half of it"


def test_a_step_goes_on_with_what_it_had_when_its_job_was_ended(
    fresh: Quern, engine: EngineElsewhere, project: Project
) -> None:
    with_resuming_step(project)
    build = started(fresh, engine, project)
    try:
        build.reach("second ...")
        while runs(engine) != ["run "]:
            assert build.process.poll() is None, build.said
            time.sleep(0.05)
        build.process.send_signal(signal.SIGINT)
        assert build.finish(120) == 130, build.said
    finally:
        build.kill()
    assert runs(engine) == ["run "]
    assert engine.left() == []
    again = started(fresh, engine, project)
    try:
        assert again.complete() == 0, again.said
    finally:
        again.kill()
    assert (project.folder / "dist/small/cpu/model/runs").read_text() == "run run "
    assert runs(engine) == []
    assert not [name for name in engine.inputs() if "unfinished" in name]


def runs(engine: EngineElsewhere) -> list[str]:
    """Return what resumable steps have written down that are not finished."""
    volumes = (engine.folder / "data-root" / "volumes").glob("quern-unfinished-*/_data/kept/runs")
    return [file.read_text() for file in volumes]


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
    with let_go(engine):
        attached = fresh("attach", job)
    assert attached.code == 0, attached.stdout + attached.stderr
    assert "✓ second" in attached.stdout
    assert engine.left() == []
    assert json.loads(fresh("jobs", "--json").stdout)["jobs"] == []
    assert (project.folder / "dist/small/cpu/model/whole").is_file()


@pytest.mark.slow
def test_attach_goes_on_to_the_end_of_a_build_that_nobody_waited_for(
    fresh: Quern, engine: EngineElsewhere, project: Project
) -> None:
    build = started(fresh, engine, project, "--detach")
    assert build.finish(300) == 0, build.said
    (job,) = [one.removeprefix("quern-job-") for one in engine.left_containers()]
    build.let_go()  # it ends while nobody looks
    attached = Attached(fresh, engine, job)
    try:
        attached.wait_for("✓ first")
        attached.wait_for("second ...")
        engine.proxy.drop()
        assert attached.complete() == 0, attached.said
    finally:
        attached.kill()
    assert f"going on with the job {job}" in attached.said
    for said in ("first ...", "✓ first", "second ...", "✓ second", "✓ third"):
        assert attached.said.count(said) == 1, attached.said
    assert engine.left() == []
    assert json.loads(fresh("jobs", "--json").stdout)["jobs"] == []
    assert fresh("attach", job).code == 2
    assert (project.folder / "dist/small/cpu/model/whole").read_text() == "half of it"


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


@contextmanager
def let_go(engine: EngineElsewhere, act: str = "") -> Iterator[None]:
    """Let every step there do that, and end, while the block runs."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.05):
            for folder in engine.working():
                with suppress(FileNotFoundError):
                    (folder / "go.partial").write_text(act)
                    (folder / "go.partial").rename(folder / "go")

    with in_background(work):
        try:
            yield
        finally:
            over.set()


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


@pytest.mark.slow
def test_a_build_on_an_engine_elsewhere_that_the_environment_names(
    fresh: Quern, engine: EngineElsewhere, ssh: SshServer, tmp_path: Path
) -> None:
    project = gated_project(tmp_path / "project")
    around = Surroundings({"PATH": ssh.path, "DOCKER_HOST": ssh.url(engine.socket)})
    looked = fresh("doctor", "--target", "cpu", "--json", environment=around.environment)
    found = {one["check"]: one for one in json.loads(looked.stdout)["findings"]}
    assert found["127.0.0.1 image"]["message"] == "the image of cpu is there"
    arguments = ["--config", str(project.config), "--dist", str(project.folder / "dist")]
    build = BuildElsewhere(fresh, engine, arguments, around)
    try:
        assert build.complete() == 0, build.said
    finally:
        build.kill()
    assert engine.left() == []
    assert "steps run on 127.0.0.1 (ssh://" in build.said
    assert {step["system"] for step in report_of(project)["passes"]} == {"127.0.0.1"}


def test_an_image_is_pulled_there_from_the_registry_of_the_config(
    engine: EngineElsewhere, project: Project, tmp_path: Path
) -> None:
    program("registry", PROGRAM)
    toolchain = load_target("cpu").toolchain(this_machine())
    table = load_config(project.config, [load_target("cpu")]).config.systems["box"]
    client = engine.client
    image = client.images.get("quern/cpu:gated")
    with registry(tmp_path / "data", before=engine.beside, connect=engine.connected) as served:
        settings = RegistrySettings(served.repository)
        system = system_of("box", table, tmp_path / "cache", settings)
        images = ImageRegistry(settings)
        expected = expected_image(toolchain)
        digest, _ = images.push(client, str(image.id), expected, None, lambda _: None)
        client.images.remove(str(image.id), force=True)
        sent = engine.proxy.sent
        lines: list[str] = []
        try:
            assert system.require(toolchain) == f"the image of cpu is in {served.repository}"
            record = system.prepare(toolchain, lines.append)
            assert record.image == f"{images.name(expected)}@{digest}"
            assert system.require(toolchain) == "the image of cpu is there"
        finally:
            client.images.get(images.name(expected)).tag("quern/cpu", "gated")
            client.images.remove(images.name(expected))
            system.close()
        assert any(line.startswith("pulled") for line in lines), lines
        assert engine.proxy.sent - sent < 100_000  # the engine has fetched it by itself
    assert engine.left() == []


@pytest.mark.slow
def test_an_image_that_was_pulled_here_is_sent_to_where_the_registry_is_out_of_reach(
    engine: EngineElsewhere,
    project: Project,
    fresh: Quern,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program("registry", PROGRAM)
    toolchain = load_target("cpu").toolchain(this_machine())
    expected = expected_image(toolchain)
    gated = engine.client.images.get("quern/cpu:gated")
    with in_memory("1g") as folder:
        here = EngineElsewhere(folder)
        here.start()
        monkeypatch.setenv("DOCKER_HOST", here.address)
        try:
            with registry(tmp_path / "data", before=here.beside, connect=here.connected) as served:
                images = ImageRegistry(RegistrySettings(served.repository))
                here.client.images.load(b"".join(gated.save()))
                images.push(here.client, str(gated.id), expected, None, lambda _: None)
                assert here.client.images.list() == []
                pulled = images.fetch(here.client, expected, lambda _: None)
            assert pulled is not None
            engine.client.images.remove(str(gated.id), force=True)
            text = project.config.read_text()
            project.config.write_text(f'{text}\n[toolchain]\nregistry = "{served.repository}"\n')
            build = started(fresh, engine, project)
            try:
                assert build.complete() == 0, build.said
            finally:
                build.kill()
            assert "sending the image of cpu to box" in build.said
            sent = engine.client.images.get(str(gated.id))
            assert sent.tags == [images.name(expected)]
            # Who does not name the registry has not verified it, and neither has who cannot see
            # what was pulled here.
            assert find_image(engine.client, toolchain) is None
            assert find_image(engine.client, toolchain, images) is None
            made = report_of(project)["toolchain"]
            assert made["image"] == f"{images.name(expected)}@{pulled.digest}"
        finally:
            here.stop()
            engine.client.images.get(str(gated.id)).tag("quern/cpu", "gated")
            with suppress(ImageNotFound):
                engine.client.images.remove(images.name(expected))
    assert engine.left() == []


def test_doctor_examines_the_systems_of_a_config(
    fresh: Quern, engine: EngineElsewhere, project: Project
) -> None:
    nowhere = "http://127.0.0.1:9"
    alone = {"PIP_INDEX_URL": nowhere, "HF_ENDPOINT": nowhere, "DOCKER_HOST": "unix:///nowhere"}
    asked = ("doctor", "--target", "cpu", "--config", str(project.config), "--json")
    ended = fresh(*asked, environment=alone)
    assert ended.code == 0, ended.stdout
    said = json.loads(ended.stdout)
    found = {one["check"]: one for one in said["findings"] if one["check"].startswith("box")}
    assert {one["severity"] for one in found.values()} <= {"ok", "warning"}
    assert found["box"]["message"].startswith(f"box ({engine.url}): engine ")
    assert found["box image"]["message"] == "the image of cpu is there"
    free = found["box disk"]["details"]["free_bytes"]
    assert 0 < free <= shutil.disk_usage(engine.folder).total
    assert said["builds"]["cpu"]["system"] == f"box ({engine.url})"
    (engine.certificates / "cert.pem").rename(engine.certificates / "away")
    try:
        ended = fresh(*asked, environment=alone)
    finally:
        (engine.certificates / "away").rename(engine.certificates / "cert.pem")
    assert ended.code == 4
    said = json.loads(ended.stdout)
    (found_box,) = (one for one in said["findings"] if one["check"].startswith("box"))
    assert found_box["severity"] == "warning"
    assert "there is no" in found_box["message"]
    assert engine.left() == []


@pytest.mark.slow
@pytest.mark.parametrize("laptop", [APPLE, WINDOWS], ids=lambda laptop: laptop.system)
def test_from_a_laptop_whose_toolchains_are_others(
    laptop: System, fresh: Quern, engine: EngineElsewhere, project: Project, tmp_path: Path
) -> None:
    around = {**laptop.variables(tmp_path), "DOCKER_HOST": "unix:///nowhere"}
    config = ("--config", str(project.config))
    doctor = ("doctor", "--target", "cpu", *config, "--json")
    if laptop is APPLE:  # whose containers are linux/arm64
        advice = 'a system of the config with `platform = "linux/amd64"` plans for it'
        assert advice in refused(fresh, project, around)
        ended = fresh(*doctor, environment=around)
        assert ended.code == 4
        assert json.dumps(advice)[1:-1] in ended.stdout
        project.edit("[systems.box]", '[systems.box]\nplatform = "linux/amd64"')
    ended = fresh(*doctor, environment=around)
    assert ended.code == 0, ended.stdout
    said = json.loads(ended.stdout)
    found = {one["check"]: one for one in said["findings"]}
    assert found["box image"]["message"] == "the image of cpu is there"
    assert said["builds"]["cpu"]["system"] == f"box ({engine.url})"
    arguments = [*config, "--dist", str(project.folder / "dist")]
    build = BuildElsewhere(fresh, engine, arguments, Surroundings(around))
    try:
        assert build.complete() == 0, build.said
    finally:
        build.kill()
    assert {step["system"] for step in report_of(project)["passes"]} == {"box"}
    assert engine.left() == []


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
    engine.proxy.once_sent(400_000, engine.proxy.drop)
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
        build.wait_for("✓ first")
        assert build.complete() == 0, build.said
    finally:
        build.kill()
    assert engine.proxy.dropped == before + 1
    assert build.said.count("✓ first") == 1
    assert engine.left() == []


FROZEN = "the engine of box does not answer"


def tree_with(folder: Path, size: int) -> Tree:
    """Return a tree of one file of that size, which nobody has sent yet."""
    folder.mkdir()
    (folder / "noise").write_bytes(os.urandom(size))
    return tree_of(folder, Digests(folder.parent / "digests.sqlite"))


def test_an_engine_that_stands_still_while_inputs_are_sent_is_given_up(
    engine: EngineElsewhere, tmp_path: Path
) -> None:
    tree = tree_with(tmp_path / "large", 24 << 20)
    link = Link("box", EngineAddress(engine.url, engine.certificates), PATIENCE, silence=1)
    (image,) = (str(one.id) for one in engine.client.images.list(name="quern/cpu"))

    def sent() -> None:
        send(link, image, PYTHON, {tree.digest: tree}, PATIENCE, print)

    engine.proxy.once_sent(2 << 20, engine.freeze)
    try:
        with pytest.raises(EnvironmentUnable) as ended:
            sent()
    finally:
        engine.thaw()
    assert str(ended.value) == FROZEN
    assert tree.digest not in whole_volumes(engine.client)
    sent()
    link.close()
    assert tree.digest in whole_volumes(engine.client)
    for left in engine.left_containers():  # it would end by itself
        engine.client.api.remove_container(left, force=True)


def test_what_a_container_says_is_not_waited_for_where_its_engine_stands_still(
    engine: EngineElsewhere,
) -> None:
    """In any thread: `doctor` asks in one of its own."""
    link = Link("box", EngineAddress(engine.url, engine.certificates), PATIENCE)
    (image,) = (str(one.id) for one in engine.client.images.list(name="quern/cpu"))
    wait = [PYTHON, "-c", "import time; time.sleep(4)"]
    ended: list[EnvironmentUnable] = []

    def ask() -> None:
        with pytest.raises(EnvironmentUnable) as unable:
            output_of(link.client(), image, wait, patience=1)
        ended.append(unable.value)

    def running() -> bool:
        return bool(engine.client.containers.list(filters={"label": HELPER_LABEL}))

    asking = threading.Thread(target=ask)
    try:
        asking.start()
        while not running():
            time.sleep(0.05)
        engine.freeze()
        asking.join(GIVEN_UP)
    finally:
        engine.thaw()
    assert [str(one) for one in ended] == [SILENT]
    gone_within(engine, 2 * PATIENCE)


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [False, True], ids=["nobody stops it", "Ctrl-C"])
def test_a_build_gives_up_an_engine_that_stands_still_while_inputs_are_sent(
    fresh: Quern, engine: EngineElsewhere, project: Project, stopped: bool
) -> None:
    engine.forget_inputs()
    frozen = threading.Event()

    def freeze() -> None:
        engine.freeze()
        frozen.set()

    engine.proxy.once_sent(400_000, freeze)
    build = started(fresh, engine, project)
    try:
        assert frozen.wait(60), build.said
        began = time.monotonic()
        if stopped:
            build.process.send_signal(signal.SIGINT)
        code = build.finish(GIVEN_UP)
        took = time.monotonic() - began
    finally:
        engine.thaw()
        build.kill()
    assert code == (130 if stopped else 4), build.said
    assert "Traceback" not in build.said
    assert ("box does not answer" if stopped else FROZEN) in build.said
    assert stopped or took > SILENCE  # an engine that is busy is waited for
    gone_within(engine, 4 * PATIENCE)
    again = started(fresh, engine, project)
    try:
        assert again.complete() == 0, again.said
    finally:
        again.kill()
    assert engine.left() == []


@pytest.mark.slow
def test_an_engine_that_stands_still_while_an_image_is_sent_is_given_up(
    engine: EngineElsewhere,
    docker_client: DockerClient,
    cache_dir: Path,
    tmp_path: Path,
) -> None:
    link = Link("box", EngineAddress(engine.url, engine.certificates), PATIENCE, silence=5)
    with small_toolchain(tmp_path, docker_client, "frozen") as toolchain:
        built = ensure_image(docker_client, toolchain, cache_dir, print)
        engine.proxy.once_sent(2 << 20, engine.freeze)
        try:
            with pytest.raises(EnvironmentUnable) as ended:
                send_image(link, toolchain, None, print)
        finally:
            engine.thaw()
        assert str(ended.value) == FROZEN
        assert find_image(engine.client, toolchain) is None
        assert send_image(link, toolchain, None, print) == built
        engine.client.images.remove(built.tag)
    link.close()
    assert engine.left() == []


def test_too_little_room_is_said_before_anything_is_sent(
    fresh: Quern, engine: EngineElsewhere, project: Project
) -> None:
    with filled(engine, 32 << 20):
        said = refused(fresh, project)
    assert "too little room on box" in said
    assert "nothing was sent" in said
    assert engine.left() == []


def test_too_little_room_for_an_image_is_said_before_its_wheels_are_sent(
    fresh: Quern, engine: EngineElsewhere, project: Project
) -> None:
    """The engine has the base and no room for a toolchain, whose image nobody has."""
    image = engine.client.images.get("quern/cpu:gated")
    image.tag("another", "name")
    engine.client.images.remove("quern/cpu:gated")
    try:
        sent = engine.proxy.sent
        said = refused(fresh, project, {"DOCKER_HOST": "unix:///nowhere"})
        assert engine.proxy.sent - sent < 1 << 20
    finally:
        image.tag("quern/cpu", "gated")
        engine.client.images.remove("another:name")
    assert "too little room on box: the image of cpu, which is built there, takes" in said
    assert not list((fresh.cache / "wheels").glob("*.whl"))  # and nothing was fetched for it
    assert engine.left() == []


@pytest.mark.slow
def test_an_image_is_sent_where_there_is_room_for_what_comes_and_for_its_layers(
    engine: EngineElsewhere, docker_client: DockerClient, cache_dir: Path, tmp_path: Path
) -> None:
    link = Link("box", EngineAddress(engine.url, engine.certificates), PATIENCE)
    with small_toolchain(tmp_path, docker_client, "roomy") as toolchain:
        built = ensure_image(docker_client, toolchain, cache_dir, print)
        whole = int(docker_client.images.get(built.id).attrs["Size"])
        sent = engine.proxy.sent
        with filled(engine, whole * 3 // 2), pytest.raises(EnvironmentUnable) as refused_there:
            send_image(link, toolchain, None, print)
        assert engine.proxy.sent - sent < 1 << 20
        assert "too little room on box: the image of roomy takes" in str(refused_there.value)
        with filled(engine, whole * 2 + (8 << 20)):
            assert send_image(link, toolchain, None, print) == built
        engine.client.images.remove(built.tag)
    link.close()
    assert engine.left() == []


@pytest.mark.slow
def test_an_image_that_nobody_has_is_built_there(
    engine: EngineElsewhere, docker_client: DockerClient, cache_dir: Path, tmp_path: Path
) -> None:
    link = Link("box", EngineAddress(engine.url, engine.certificates), PATIENCE)
    with small_toolchain(tmp_path, docker_client, "built") as whole:
        toolchain = replace(whole, room=Room(wheels=0.01, installed=0.1))
        built = build_image(link, toolchain, cache_dir, print)
        assert find_image(docker_client, toolchain) is None
        assert find_image(engine.client, toolchain) == built
        program = f"import {SMALL}; print({SMALL}.__name__)"
        ran = output_of(engine.client, built.id, [PYTHON, "-c", program])
        assert ran == f"{SMALL}\n"
        engine.client.images.remove(built.tag)
    link.close()
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
    gone_within(engine, 4 * PATIENCE)  # else two steps seem to wait
    again = started(fresh, engine, project)
    try:
        assert again.complete() == 0, again.said
    finally:
        again.kill()
    assert re.search(r"✓ first +cached", again.said)
    gone_within(engine, 4 * PATIENCE)
