"""The host's side on Windows and macOS, as far as their Python differs from Linux'."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.process.exit_codes import describe_exit, has_crashed, signal_of
from targets.cli.options import PROJECT
from tests.support.other_systems.lacking import absent, lacking
from tests.support.other_systems.system import APPLE, INTEL_MAC, WINDOWS, System
from tests.support.project import make_project
from tests.support.stand_builds import Stand, World

COMMANDS = {
    path.stem.rstrip("_").replace("_", "-")
    for path in (PROJECT / "targets" / "cli" / "commands").glob("[!_]*.py")
}


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    said: str
    crash: str


def run_all(system: System, folder: Path, *commands: list[str]) -> list[Ended]:
    """Return how each command ended in one process on ``system``, where there is no engine."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.support.other_systems.commands", json.dumps(commands)],
        cwd=folder,
        env={
            **os.environ,
            **system.variables(folder),
            "DOCKER_HOST": "unix:///nonexistent.sock",
            "QUERN_CACHE": str(folder / "cache"),
            # Neither hub nor package index is asked.
            "HF_HUB_OFFLINE": "1",
            "PIP_NO_INDEX": "1",
            "COLUMNS": "200",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return [Ended(**one) for one in json.loads(ran.stdout)]


def test_typeshed_says_what_windows_lacks() -> None:
    lacks = lacking("win32")
    assert {"getuid", "O_NOFOLLOW", "killpg", "sched_getaffinity"} <= {*lacks["os"]}
    assert {"SIGKILL", "Signals.SIGKILL", "setitimer"} <= {*lacks["signal"]}
    assert {"fcntl", "resource", "pwd"} <= {*absent("win32")}
    assert "SIGTERM" not in lacks["signal"]
    assert "getuid" not in lacking("darwin")["os"]


def test_every_command_runs_on_windows(tmp_path: Path) -> None:
    world = World(tmp_path)
    outcome = world.build(Stand("docker"))
    config, folder = str(world.project.config), str(outcome.folder)
    olive = str(PROJECT / "configs" / "olive" / "olive-config.json")
    commit = "0123456789" * 4
    build = ["--config", config, "--dist", str(tmp_path / "again")]
    commands = {
        # No toolchain builds on Windows, and there is no engine.
        "doctor": (4, ["doctor"]),
        "images": (4, ["images", "--target", "cpu", "--runtime", "docker"]),
        "try": (4, ["try", *build, "hello"]),
        "bench": (4, ["bench", *build]),
        "serve": (4, ["serve", *build]),
        "push": (4, ["push", "hf:org/small", *build, "--dry-run"]),
        "release": (4, ["release", *build, "--version", "1.0.0"]),
        "export-toolchain": (
            4,
            ["export-toolchain", "--target", "cpu", "--output", "toolchain.tar"],
        ),
        # All steps are cached.
        "plan": (0, ["plan", *build, "--runtime", "docker"]),
        "build": (0, ["build", *build, "--runtime", "docker"]),
        "list": (0, ["list", "--dist", str(outcome.folder.parents[1])]),
        "compare": (0, ["compare", folder, folder]),
        "clean": (0, ["clean", "--dry-run"]),
        "convert": (0, ["convert", olive, "--output", "converted.toml"]),
        "init": (
            0,
            [
                *("init", "--model", f"hf:org/small@{commit}", "--data", "rows.jsonl"),
                *("--prompt", "text", "--answer", "tone"),
            ],
        ),
        "jobs": (0, ["jobs"]),
        "schema": (0, ["schema", "--help"]),
        # What they are given is not what they take.
        "check": (2, ["check", folder]),
        "attach": (2, ["attach", "small"]),
        "cancel": (2, ["cancel", "small"]),
        "lock": (2, ["lock", "--base", "--target", "cpu"]),
        "export-mlflow": (2, ["export-mlflow", folder]),
        "verify": (3, ["verify", folder, "--quick"]),
        "import-toolchain": (3, ["import-toolchain", config]),
    }
    assert commands.keys() == COMMANDS, "a command is not tried on Windows"
    rows = [f'{{"text": "phrase {number}", "tone": "joy"}}' for number in range(8)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    ran = run_all(WINDOWS, tmp_path, *(words for _, words in commands.values()))
    ended = dict(zip(commands, ran, strict=True))
    assert {name: one.crash for name, one in ended.items() if one.crash} == {}
    codes = {name: one.code for name, one in ended.items()}
    assert codes == {name: code for name, (code, _) in commands.items()}, ended
    assert (tmp_path / "again/small/cpu/model/model.bin").read_text() == "weights"
    said = ended["doctor"].said
    assert "Intel64 Family 6 Model 154" in said, "the registry has the CPU's name"
    assert "Docker Desktop" in said
    assert "checks of directml, webgpu" in said
    assert "apt-get" not in said
    assert "use `--runtime venv`" not in said, "that sends in a circle"
    assert "build it on linux/amd64 or linux/arm64: `--runtime docker`" in ended["try"].said


@pytest.mark.parametrize("system", [APPLE, INTEL_MAC])
def test_a_mac_is_told_what_it_can_build(system: System, tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    plan = ["plan", "--config", str(project.config)]
    doctor, alone, in_containers, everything, directml = run_all(
        *(system, tmp_path, ["doctor"], [*plan, "--runtime", "venv"]),
        [*plan, "--runtime", "docker"],
        [*plan, "--target", "all", "--json"],
        [*plan, "--target", "directml"],
    )
    assert not doctor.crash
    assert not everything.crash
    assert doctor.code == 4
    assert "brew install colima" in doctor.said
    assert "no toolchain builds on macOS" in doctor.said
    assert "locked for" not in doctor.said, "its containers have its processor"
    # Neither way sends to the other.
    for one in (doctor, alone, in_containers):
        assert "apt-get" not in one.said
        assert "use `--runtime venv`" not in one.said
    plans = json.loads(everything.said.partition("{")[2].join(("{", "")))["plans"]
    built = {plan["target"] for plan in plans}
    if system is APPLE:
        assert built == {"cpu", "cuda", "webgpu"}
        assert "directml is left out" in everything.said
        assert "build it on linux/amd64" in everything.said
        assert (directml.code, "no directml toolchain" in directml.said) == (4, True)
        assert "directml: there is no directml toolchain for linux/arm64" in doctor.said
    else:
        assert built == {"cpu", "cuda", "directml", "webgpu"}
        assert directml.code == 0
        assert "x86-64-v3" not in doctor.said, "macOS says nothing of it"


def test_a_crash_on_windows_is_known_by_its_exit_code() -> None:
    assert signal_of(0xC0000005) == "SIGSEGV"
    assert has_crashed(0xC0000005)
    assert describe_exit(0xC0000005) == "ended by access violation (0xC0000005)"
    assert not has_crashed(0xC000001D), "an illegal instruction is the CPU's fault"
