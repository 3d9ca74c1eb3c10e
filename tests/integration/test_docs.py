"""Every command that the documentation shows works, in a fresh copy of the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from targets.cli.options import PROJECT
from tests.integration.clones import commit_all
from tests.integration.command import Quern

PAGES = (PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md")))

# These run for long when they mean it: here with the least they can do.
LEAST = {
    "./nox -s bench": "./nox -s bench -- --max-seconds 5",
    "./nox -s bench -- --targets cpu,directml": (
        "./nox -s bench -- --targets cpu,directml --max-seconds 5"
    ),
    "./nox -s bench -- --compare dist/tone/bench/bench.json": (
        "./nox -s bench -- --targets cpu --compare dist/tone/bench/bench.json --max-seconds 5"
    ),
    "./nox -s bench -- --baseline dist/tone/cpu --max-seconds 30": (
        "./nox -s bench -- --targets cpu --baseline dist/tone/cpu --max-seconds 5"
    ),
    # It trains anew: the tests of releases do that with a smaller model.
    "./nox -s verify -- dist/tone/release/1.2.0": (
        "./nox -s verify -- dist/tone/release/1.2.0 --quick"
    ),
    # Without the image: gigabytes.
    "./nox -s export-toolchain -- --target cpu --output dist/toolchain.tar": (
        "./nox -s export-toolchain -- --target cpu --output dist/toolchain.tar --runtime venv"
    ),
    "./nox -s bench_checks": "./nox -s bench_checks -- --runs 2",
    "./nox -s bench_driver": ("./nox -s bench_driver -- --runs 1 --pairs 0 --cache $QUERN_CACHE"),
    "./nox -s bench-scale": ("./nox -s bench-scale -- --only merge --layers 0 --out dist/scale.md"),
    # The lock of linux/arm64 needs PyTorch's own index, which is not reached from everywhere.
    "./nox -s lock": "./nox -s lock -- --target directml",
    # Another lock would have the images made anew.
    "./nox -s lock -- --base": "./nox -s lock -- --base --keep",
}

# These tests run inside the first two, and `.ci/run` runs the others just before.
RUNNING = {"./nox -s tests", "./nox -s tests_cuda", "./nox -s lint", "./nox -s types"}

# They fetch and build the CUDA image: several GB.
HEAVY = ("./nox -s build-cuda", "./nox -s build", "./nox -s images", "./nox -s check-cuda")

KEY = "openssl genpkey -algorithm ed25519 -out ../release.key"
SIGNED = (
    f"{KEY} && openssl pkey -in ../release.key -pubout -out ../release.pub && "
    "./nox -s release -- --version 1.2.0 --sign-key ../release.key"
)

# It changes what is installed, so it comes last.
LAST = "./nox -s lock"


def documented_commands() -> list[str]:
    """Return every nox command in code blocks and in inline code, each once."""
    found: dict[str, None] = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
            found |= dict.fromkeys(re.findall(r"^\$ (.+)$", block, re.MULTILINE))
        found |= dict.fromkeys(re.findall(r"`(\./nox -s [^`…]+)`", text))
    return sorted(found, key=lambda command: (command == LAST, not _of_release(command), command))


def _of_release(command: str) -> bool:
    """Return whether it is of those that need a clean checkout: they come before others write."""
    return command.startswith(("./nox -s release", "./nox -s verify", "openssl"))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project as a stranger would have it, without environments."""
    folder = tmp_path_factory.mktemp("stranger") / "quern"
    ignored = shutil.ignore_patterns(".nox", ".git", "dist", "__pycache__", ".*_cache", ".parts")
    shutil.copytree(PROJECT, folder, ignore=ignored)
    commit_all(folder)
    return folder


def test_every_command_is_found() -> None:
    commands = documented_commands()
    assert "./nox -s build-cpu" in commands
    assert set(commands) > RUNNING
    assert set(LEAST) < set(commands)


def _marked(command: str) -> object:
    words = command.split(" -- ")[0]
    marks = [pytest.mark.heavy] if words in HEAVY and "--target" not in command else []
    return pytest.param(command, marks=marks)


def _needed(command: str) -> tuple[str, str] | None:
    """Return the command that makes what ``command`` is about, and where that lies then."""
    if "--compare" in command:
        return LEAST["./nox -s bench"], "dist/tone/bench/bench.json"
    if command.startswith("./nox -s try") or "--baseline" in command:
        return "./nox -s build-cpu", "dist/tone/cpu"
    if "--key" in command:
        return SIGNED, "../release.pub"
    if command.startswith("./nox -s verify"):
        return "./nox -s release -- --version 1.2.0", "dist/tone/release/1.2.0"
    if "--sign-key" in command or command.startswith("openssl pkey"):
        return KEY, "../release.key"
    if "dist/toolchain.tar" in command and "export-toolchain" not in command:
        least = next(least for least in LEAST.values() if "export-toolchain" in least)
        return least, "dist/toolchain.tar"
    found = re.match(r"./nox -s check-(\w+)", command)
    return (f"./nox -s build-{found[1]}", f"dist/tone/{found[1]}") if found else None


@pytest.mark.parametrize(
    "command", [_marked(command) for command in documented_commands() if command not in RUNNING]
)
def test_documented_command_works(command: str, copy: Path, quern: Quern) -> None:
    needed = _needed(command)
    if needed is not None and not (copy / needed[1]).exists():
        environment = quern.environment()
        before = subprocess.run(["bash", "-c", needed[0]], cwd=copy, env=environment, check=False)
        assert before.returncode == 0
    ran = subprocess.run(
        ["bash", "-c", LEAST.get(command, command)],
        cwd=copy,
        env={**quern.environment(), "COLUMNS": os.environ.get("COLUMNS", "120")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
