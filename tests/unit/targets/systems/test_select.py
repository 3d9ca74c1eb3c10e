"""Where steps run, and why, is decided before anything is fetched."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from targets.cli.commands import doctor, plan
from targets.cli.main import main
from targets.errors import EnvironmentUnable
from targets.runtimes.venv import VenvRuntime
from targets.systems.select import HERE, Chooser, Decision
from targets.target import load_target
from targets.toolchain import engine
from targets.toolchain.platforms import this_machine
from targets.toolchain.toolchain import Toolchain
from tests.support.engines import engine_answering
from tests.support.project import make_project

NOBODY = 65534


@pytest.fixture
def toolchain() -> Toolchain:
    return load_target("cpu").toolchain(this_machine())


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")


def unusable(cache: Path, toolchain: Toolchain) -> Decision:
    """Return what ``auto`` makes of an engine that ``docker`` refuses for the same reason."""
    insisting = Chooser("docker", cache)
    with pytest.raises(EnvironmentUnable) as caught:
        insisting.start([toolchain], print)
    assert caught.value.hint
    assert insisting.decide([toolchain]) == Decision(None, str(caught.value), caught.value.hint)

    said: list[str] = []
    chooser = Chooser("auto", cache)
    decision = chooser.decide([toolchain])
    assert decision == Decision("venv", str(caught.value), caught.value.hint)
    for _ in range(2):
        assert isinstance(chooser.start([toolchain], said.append), VenvRuntime)
    assert said == [f"steps run in a virtual environment: {caught.value}"]
    assert not cache.exists()
    return decision


@pytest.mark.usefixtures("no_engine")
def test_without_an_engine(tmp_path: Path, toolchain: Toolchain) -> None:
    decision = unusable(tmp_path / "cache", toolchain)
    assert decision.why == "no Docker Engine is installed or running"
    assert "apt-get install docker.io" in decision.remedy


@pytest.mark.parametrize(
    ("version", "why"),
    [
        ({"ApiVersion": "1.40"}, "too old (API 1.40)"),
        ({"ApiVersion": "1.12"}, "too old (API below 1."),
        ({"ApiVersion": "new"}, "no Docker Engine answers"),
        ({"Os": "windows"}, "runs windows containers"),
    ],
)
def test_an_engine_of_no_use(
    version: dict[str, str],
    why: str,
    tmp_path: Path,
    toolchain: Toolchain,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with engine_answering(**version) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        assert why in unusable(tmp_path / "cache", toolchain).why


def test_an_engine_reached_through_ssh_is_another_machines(
    tmp_path: Path, toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "ssh://somebody@nowhere.invalid")
    cache = tmp_path / "cache"
    insisting = Chooser("docker", cache).decide([toolchain])
    assert insisting.runtime is None
    assert insisting.why.startswith("ssh cannot log in to somebody@nowhere.invalid")
    assert "ssh somebody@nowhere.invalid docker version" in insisting.remedy
    assert "(ssh://somebody@nowhere.invalid)" in insisting.system
    decision = Chooser("auto", cache).decide([toolchain])
    assert decision == Decision("venv", insisting.why, insisting.remedy)


def test_what_stays_on_this_machine_asks_no_engine_of_another_one(
    tmp_path: Path, toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "ssh://somebody@nowhere.invalid")
    monkeypatch.setenv("PATH", "")  # where ssh is
    cache = tmp_path / "cache"
    insisting = Chooser("docker", cache, stays=HERE).decide([toolchain])
    assert insisting.runtime is None
    assert insisting.why == (
        "the engine that DOCKER_HOST or a context of Docker's tools names is another machine's "
        f"(nowhere.invalid (ssh://somebody@nowhere.invalid)), and {HERE}"
    )
    assert "docker context use default" in insisting.remedy
    chooser = Chooser("auto", cache, stays=HERE)
    expected = Decision("venv", insisting.why, insisting.remedy)
    assert [chooser.decide([toolchain]) for _ in range(2)] == [expected] * 2
    with pytest.raises(EnvironmentUnable, match="is another machine's"):
        chooser.containers()


@pytest.mark.parametrize("native", [True, False])
def test_plan_says_what_keeps_steps_from_an_engine_elsewhere_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, native: bool
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "ssh://somebody@nowhere.invalid")
    project = make_project(tmp_path / "project")
    if native:
        text = project.config.read_text()
        project.config.write_text(f'{text}\n[resources]\narithmetic = "native"\n')
    options = ("--config", str(project.config), "--cache", str(tmp_path / "cache"), "--json")
    found = json.loads(CliRunner().invoke(plan.command, [*options]).stdout)["plans"][0]["runs"]
    assert found["runtime"] == "venv"
    why = "another machine's (nowhere.invalid (ssh://somebody@nowhere.invalid)), and the config has"
    assert (why in found["why"], "ssh cannot log in" in found["why"]) == (native, not native)


def test_an_engine_that_hangs_is_waited_for_once(
    tmp_path: Path, toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "ANSWER_SECONDS", 1)
    with socket.socket() as hanging:
        hanging.bind(("127.0.0.1", 0))
        hanging.listen()
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{hanging.getsockname()[1]}")
        began = time.monotonic()
        decision = unusable(tmp_path / "cache", toolchain)
    assert decision.why == "the Docker Engine has not answered for 1 s"
    assert time.monotonic() - began < 3  # once for each of the two that were asked


@pytest.fixture
def closed_socket() -> Iterator[Path]:
    """Yield a socket that nobody but root may use, in a folder that others may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "engine.sock"))
        listening.listen()
        (folder / "engine.sock").chmod(0)
        yield folder / "engine.sock"
    shutil.rmtree(folder)


def test_no_right_to_the_socket(closed_socket: Path, toolchain: Toolchain) -> None:
    context = multiprocessing.get_context("fork")
    found: multiprocessing.Queue[Decision] = context.Queue()
    address = f"unix://{closed_socket}"
    asking = context.Process(target=_ask_as_nobody, args=(address, toolchain, found))
    asking.start()
    decision = found.get(timeout=30)
    asking.join()
    assert decision.runtime == "venv"
    assert decision.why == "no permission to use the Docker Engine"
    assert "usermod -aG docker" in decision.remedy


def _ask_as_nobody(
    address: str, toolchain: Toolchain, found: multiprocessing.Queue[Decision]
) -> None:
    os.environ["DOCKER_HOST"] = address
    if os.getuid() == 0:
        os.setgroups([])
        os.setuid(NOBODY)
    found.put(Chooser("auto", Path("/nowhere")).decide([toolchain]))


def test_a_virtual_environment_that_was_asked_for_asks_no_engine(
    tmp_path: Path, toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_arguments: object, **_options: object) -> None:
        raise AssertionError

    monkeypatch.setattr("docker.from_env", asked)
    said: list[str] = []
    chooser = Chooser("venv", tmp_path)
    assert chooser.decide([toolchain]).runtime == "venv"
    assert isinstance(chooser.start([toolchain], said.append), VenvRuntime)
    assert said == []


@pytest.mark.usefixtures("no_engine")
def test_nowhere_at_all(tmp_path: Path, toolchain: Toolchain) -> None:
    elsewhere = replace(toolchain, platform="windows/arm64")
    decision = Chooser("auto", tmp_path).decide([elsewhere])
    assert decision.runtime is None
    assert "no Docker Engine" in decision.why


@pytest.mark.usefixtures("no_engine")
@pytest.mark.parametrize("words", [("build", "--config"), ("images",), ("export-toolchain",)])
def test_whatever_runs_something_ends_before_anything_is_fetched(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    project = make_project(tmp_path / "project")
    configs = [str(project.config)] if "--config" in words else []
    options = ["--target", "cpu", "--runtime", "docker", "--cache", str(tmp_path / "cache")]
    ran = CliRunner().invoke(main, [*words, *configs, *options])
    assert isinstance(ran.exception, EnvironmentUnable)
    assert str(ran.exception) == "no Docker Engine is installed or running"
    assert not (tmp_path / "cache" / "wheels").exists()


@pytest.mark.usefixtures("no_engine")
def test_plan_and_doctor_agree(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    places = ("--cache", str(tmp_path / "cache"), "--json")
    arguments = ("--config", str(project.config), *places)
    planned = CliRunner().invoke(plan.command, [*arguments])
    looked = CliRunner().invoke(doctor.command, ["--target", "cpu", *places])

    (found,) = json.loads(planned.stdout)["plans"]
    assert found["runs"]["runtime"] == "venv"
    assert json.loads(looked.stdout)["builds"] == {"cpu": found["runs"]}

    shown = CliRunner().invoke(plan.command, [*arguments[:-1]])
    why = "no Docker Engine is installed or running"
    assert f"Steps run in a virtual environment: {why}." in shown.stdout
    insisting = CliRunner().invoke(plan.command, [*arguments[:-1], "--runtime", "docker"])
    assert insisting.exit_code == 0
    assert f"Steps run nowhere here: {why}." in insisting.stdout
