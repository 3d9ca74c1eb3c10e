from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from targets.cli.commands.doctor import command
from targets.cli.options import PROJECT
from targets.doctor import engine, host, network, toolchains
from targets.doctor.examine import examine
from targets.doctor.finding import RUNTIMES, Finding, Machine, gigabytes, usable_runtimes
from targets.errors import EnvironmentUnable
from targets.systems.select import Chooser
from targets.target import load_target
from targets.toolchain.venv import venv_python
from tests.support.capabilities import skip_or_fail

NOWHERE = "http://127.0.0.1:9"
"""The discard port, where nothing listens."""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "cache", tmp_path / "dist", (load_target("cpu"),))


@pytest.fixture
def cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave this process without engine, package index and hub."""
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", f"{NOWHERE}/simple")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)


class Hub(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path.startswith("/hub/api/models") else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its interface
        """Keep quiet."""


@pytest.fixture
def hub_url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hub"
        server.shutdown()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, [*arguments], standalone_mode=True)


def test_a_runtime_is_usable_unless_blocked() -> None:
    fine = Finding("ok", "python", "")
    no_engine = Finding("warning", "engine", "", blocks=("docker",))
    no_python = Finding("warning", "venv", "", blocks=("venv",))
    assert usable_runtimes([fine]) == ("docker", "venv")
    assert usable_runtimes([fine, no_engine]) == ("venv",)
    assert usable_runtimes([no_engine, no_python]) == ()


@pytest.mark.usefixtures("cut_off")
def test_missing_engine_leaves_the_virtual_environment(machine: Machine) -> None:
    (found,) = engine.engine(machine)
    assert found.severity == "warning"
    assert found.blocks == ("docker",)
    assert found.remedy


def test_an_engine_elsewhere_that_the_environment_names_is_examined_as_a_system(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "ssh://somebody@nowhere.invalid")
    (found,) = engine.engine(machine)
    assert (found.check, found.severity) == ("nowhere.invalid", "warning")
    assert found.message.startswith("ssh cannot log in to somebody@nowhere.invalid")
    assert found.blocks == ("docker",)


def test_full_disk_blocks_everything(machine: Machine) -> None:
    # /proc is a file system without any room, and root's.
    if not os.access("/proc", os.W_OK):
        skip_or_fail("full disk", "this user may not write where there is no room")
    full = Machine(Path("/proc/quern"), machine.dist, machine.targets)
    cache, dist = host.disk(full)
    assert cache.severity == "problem"
    assert cache.details["free_bytes"] == 0
    assert usable_runtimes([cache]) == ()
    assert dist.blocks == () or dist.severity == "problem"


@pytest.mark.usefixtures("cut_off")
def test_missing_wheels_are_a_problem_only_without_an_index(machine: Machine) -> None:
    (found,) = toolchains.wheels(machine)
    assert found.severity == "problem"
    assert found.details["missing"] == found.details["total"]
    assert set(found.blocks) == {"docker", "venv"}


@pytest.mark.usefixtures("cut_off")
def test_ready_environment_needs_no_wheels(machine: Machine) -> None:
    python = venv_python(machine.toolchains[0], machine.cache)
    python.parent.mkdir(parents=True)
    python.touch()
    (wheels,) = toolchains.wheels(machine)
    (environment,) = toolchains.environments(machine)
    assert wheels.blocks == ("docker",)
    assert "ready" in environment.message


def test_hub_is_the_one_of_the_environment(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, hub_url: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub_url.replace("//", "//user:secret@"))
    (found,) = network.hub(machine)
    assert found.severity == "ok"
    assert "secret" not in str(found)
    monkeypatch.setenv("HF_ENDPOINT", hub_url.removesuffix("/hub"))
    (refused,) = network.hub(machine)
    assert refused.severity == "warning"
    assert refused.blocks == ()


def test_machine_is_measured(machine: Machine) -> None:
    (memory,) = host.memory(machine)
    (cpu,) = host.cpu(machine)
    assert (
        0 < int(str(memory.details["available_bytes"])) <= int(str(memory.details["total_bytes"]))
    )
    assert int(str(cpu.details["cores"])) >= 1


def test_a_cpu_below_the_floor_blocks_before_any_work(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = tmp_path / "cpuinfo"
    flags.write_text("model name : old\nflags : fpu abm avx bmi1 f16c movbe xsave\n")
    monkeypatch.setattr("targets.machine._CPU_INFO", flags)
    (cpu,) = host.cpu(machine)
    assert cpu.severity == "problem"
    assert cpu.blocks == RUNTIMES
    chooser = Chooser("auto", tmp_path)
    assert chooser.decide(machine.toolchains).runtime is None
    with pytest.raises(EnvironmentUnable, match=r"lacks avx2, fma of x86-64-v3"):
        chooser.start(machine.toolchains, print)

    flags.write_text("flags : fpu abm avx avx2 bmi1 bmi2 f16c fma xsave\n")
    assert next(host.cpu(machine)).severity == "warning", "some virtual machines hide movbe"
    assert Chooser("venv", tmp_path).decide(machine.toolchains).runtime == "venv"

    for said in ("nothing is said of the CPU\n", None):
        flags.unlink() if said is None else flags.write_text(said)
        assert Chooser("venv", tmp_path).decide(machine.toolchains).runtime == "venv"
        assert next(host.cpu(machine)).severity == "ok"


def test_an_examination_that_cannot_be_made_is_a_finding(machine: Machine) -> None:
    def broken(_machine: Machine) -> Iterator[Finding]:
        raise EnvironmentUnable("requirements.lock is missing", "make it")
        yield

    (found,) = examine(machine, [broken])
    assert found.severity == "problem"
    assert (found.message, found.remedy) == ("requirements.lock is missing", "make it")


@pytest.mark.usefixtures("cut_off")
def test_command_says_so_when_nothing_can_run(tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    ran = run("--json", "--cache", cache)
    assert ran.exit_code == 4
    report = json.loads(ran.stdout)
    assert report["runtimes"] == []
    checks = {finding["check"] for finding in report["findings"]}
    assert {"python", "engine", "wheelhouse", "cache", "memory", "cpu", "gpu", "hub"} <= checks
    blocking = [finding for finding in report["findings"] if finding["blocks"]]
    assert all(finding["remedy"] for finding in blocking)
    assert not (tmp_path / "cache").exists()

    arguments = [sys.executable, "-m", "targets", "doctor", "--cache", cache]
    shown = subprocess.run(arguments, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert shown.returncode == 4
    assert "No build can run" in shown.stdout


def test_the_memory_that_is_enough_is_the_measured_one(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (PROJECT / "docs" / "scale.md").read_text("utf-8")
    # Not of the proofs: what exceeds their 4 GB of memory is pages of mapped files.
    (whole,) = re.findall(r"<!-- part whole -->(.*?)(?:<!-- part|\Z)", page, re.DOTALL)
    steps = re.findall(r"^\| its step `\w+` \| [\d.]+ s, ([\d.]+) GB", whole, re.MULTILINE)
    assert len(steps) > 2
    peak = max(map(float, steps))
    assert peak <= host.MEMORY_ENOUGH / 1e9 < peak + 0.5
    little = SimpleNamespace(total=16e9, available=peak * 1e9 - 1)
    monkeypatch.setattr("psutil.virtual_memory", lambda: little)
    (found,) = host.memory(machine)
    assert found.severity == "warning"
    assert f"takes {gigabytes(host.MEMORY_ENOUGH)}" in found.remedy
