"""Every command that the documentation shows works, in a fresh copy of the project."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from targets.cli.options import PROJECT
from tests.benchmarks.pages import MEASURED, SCALE
from tests.support.capabilities import program
from tests.support.clones import commit_all
from tests.support.command import Quern

README = PROJECT / "README.md"

# The pages of figures name commands too, as they were run: `tests/unit/benchmarks/` has those.
PAGES = (
    README,
    *(page for page in sorted(PROJECT.glob("*.md")) if page != README),
    *(page for page in sorted((PROJECT / "docs").glob("*.md")) if page not in (MEASURED, SCALE)),
)

# These run for long when they mean it: here with the least they can do.
LEAST = {
    "./nox -s bench": "./nox -s bench -- --max-seconds 5",
    "./nox -s bench -- --target cpu,directml": (
        "./nox -s bench -- --target cpu,directml --max-seconds 5"
    ),
    "./nox -s bench -- --compare dist/tone/bench/bench.json": (
        "./nox -s bench -- --target cpu --compare dist/tone/bench/bench.json --max-seconds 5"
    ),
    "./nox -s bench -- --baseline dist/tone/cpu --max-seconds 30": (
        "./nox -s bench -- --target cpu --baseline dist/tone/cpu --max-seconds 5"
    ),
    # It trains anew: the tests of releases do that with a smaller model.
    "./nox -s verify -- dist/tone/release/1.2.0": (
        "./nox -s verify -- dist/tone/release/1.2.0 --quick"
    ),
    # Without the image: gigabytes.
    "./nox -s export-toolchain -- --target cpu --output dist/toolchain.tar": (
        "./nox -s export-toolchain -- --target cpu --output dist/toolchain.tar --runtime venv"
    ),
    # It fetches gigabytes from a hub that not everybody reaches.
    "../quern/nox -s build-cpu -- --config support.toml": (
        "../quern/nox -s plan -- --target cpu --config support.toml"
    ),
    "./nox -s bench-example": "./nox -s bench-example -- --cached --out dist/measured.md",
    "./nox -s bench-smollm": "./nox -s bench-smollm -- --cached --out dist/measured.md",
    "./nox -s bench-checks": "./nox -s bench-checks -- --runs 2 --out dist/measured.md",
    "./nox -s bench-driver": (
        './nox -s bench-driver -- --runs 1 --pairs 0 --cache "$QUERN_CACHE" --out dist/measured.md'
    ),
    "./nox -s bench-commands": "./nox -s bench-commands -- --runs 1 --out dist/measured.md",
    "./nox -s bench-data": (
        './nox -s bench-data -- --rows 2000 --cache "$QUERN_CACHE" --out dist/measured.md'
    ),
    "./nox -s bench-growth": (
        "./nox -s bench-growth -- --only rows --rows 1000 2000 --out dist/growth.md"
    ),
    "./nox -s bench-job": "./nox -s bench-job -- --jobs 2 --out dist/measured.md",
    "./nox -s bench-installed -- MODEL": "./nox -s bench-installed -- --help",
    "./nox -s bench-shared": (
        './nox -s bench-shared -- --megabytes 20 --cache "$QUERN_CACHE" --out dist/measured.md'
    ),
    "./nox -s bench-training": "./nox -s bench-training -- --rounds 1 --out dist/measured.md",
    "./nox -s bench-peers": "./nox -s bench-peers -- --help",
    "./nox -s bench-scale": ("./nox -s bench-scale -- --only merge --layers 0 --out dist/scale.md"),
    # The lock of linux/arm64 needs PyTorch's own index, which is not reached from everywhere.
    "./nox -s lock": "./nox -s lock -- --target directml",
    # It does not end by itself: its own tests ask it.
    "./nox -s serve": "./nox -s serve -- --help",
    "./nox -s push -- hf:ORG/NAME": "./nox -s push -- hf:ORG/NAME --dry-run",
    # Another lock would have the images made anew.
    "./nox -s lock -- --base": "./nox -s lock -- --base --keep",
}

# These tests run inside the first four, and `.ci/run` runs the others just before.
RUNNING = {
    "./nox -s tests",
    "./nox -s attack",
    "./nox -s tests-cuda",
    "./nox -s tests-families",
    "./nox -s tests-tokenizers",
    "./nox -s tests-remote",
    "./nox -s tests-azure",
    "./nox -s tests-slurm",
    "./nox -s tests-smollm",
    "./nox -s tests-slow",
    "./nox -s tests -- tests/unit",
    './nox -s tests -- -m "not engine and not slow"',
    "./nox -s lint",
    "./nox -s types",
}

# They limit memory, and are about what containers made.
ENGINE = ("./nox -s bench-scale", "./nox -s release", "./nox -s verify")

# What a stranger without an engine begins with: here once more with none in reach.
BEGINNINGS = (
    "./nox -s doctor",
    "./nox -s plan",
    "./nox -s build-cpu",
    './nox -s try -- "cricket is a wonderful sport!"',
)

# They build, train or measure for minutes, ask what was built, or install it all once more.
SLOW = (
    "bench",
    "release",
    "verify",
    "check",
    "compare",
    "export",
    "import",
    "build",
    "try",
    "push",
    "serve",
    "azure",
    "lock",
    "pre-commit",
)

LARGE = ("--config docs/examples", "--target cpu,directml", "toolchain.tar", "dist/host")

NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere"}

# They fetch and build the CUDA image: several GB.
HEAVY = {"./nox -s build-cuda", "./nox -s build -- --target all"}

KEY = "openssl genpkey -algorithm ed25519 -out ../release.key"
SIGNED = (
    f"{KEY} && openssl pkey -in ../release.key -pubout -out ../release.pub && "
    "./nox -s release -- --version 1.2.0 --sign-key ../release.key"
)
REBUILDER_KEY = "openssl genpkey -algorithm ed25519 -out ../rebuilder.key"
REBUILDER = (
    f"{SIGNED} && {REBUILDER_KEY} && "
    "openssl pkey -in ../rebuilder.key -pubout -out ../rebuilder.pub"
)
REBUILT = (
    f"{REBUILDER} && "
    "./nox -s verify -- dist/tone/release/1.2.0 --from-adapter --sign-key ../rebuilder.key"
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
    own = folder.parent / "support"
    own.mkdir()
    (own / "support.toml").write_text(_own_config(), encoding="utf-8")
    rows = ({"text": f"ticket {number}", "team": "abc"[number % 3]} for number in range(60))
    (own / "tickets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def _own_config() -> str:
    """Return the config of one's own that the README shows."""
    (config,) = re.findall(r"```toml\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    return str(config)


def test_every_command_is_found() -> None:
    commands = documented_commands()
    assert "./nox -s build-cpu" in commands
    assert {*RUNNING, *LEAST, *BEGINNINGS} <= set(commands)
    assert set(ENGINE) <= {command.partition(" -- ")[0] for command in commands}


def _marks(command: str) -> list[pytest.MarkDecorator]:
    session = command.partition("nox -s ")[2].partition(" ")[0]
    installs = "test_space" in command  # what the tests themselves run with, once more
    slow = installs or session.startswith(SLOW) or any(words in command for words in LARGE)
    heavy = command in HEAVY or command.startswith("./nox -s check-cuda")
    engine = command.split(" -- ")[0] in ENGINE
    pretrained = "smollm" in command
    return [
        mark
        for mark, wanted in (
            (pytest.mark.heavy, heavy),
            (pytest.mark.slow, slow),
            (pytest.mark.engine, engine),
            (pytest.mark.pretrained, pretrained),
        )
        if wanted
    ]


def _needed(command: str) -> tuple[str, str] | None:
    """Return the command that makes what ``command`` is about, and where that lies then."""
    if "--compare" in command:
        return LEAST["./nox -s bench"], "dist/tone/bench/bench.json"
    if "smollm2.toml" in command:
        return "./nox -s fetch-smollm", "configs/models"
    if command.startswith(("./nox -s try", "./nox -s push")) or "--baseline" in command:
        return "./nox -s build-cpu", "dist/tone/cpu"
    if "--rebuilt-by" in command:
        return REBUILT, "dist/tone/release/1.2.0/rebuilt.intoto.jsonl"
    if command.startswith("openssl pkey -in ../rebuilder.key"):
        return REBUILDER_KEY, "../rebuilder.key"
    if "--sign-key ../rebuilder.key" in command:
        return REBUILDER, "../rebuilder.pub"
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


def cases() -> Iterator[object]:
    """Yield each command with the variables it is run with; the beginnings also without engine."""
    for command in documented_commands():
        if command == LAST:
            for beginning in BEGINNINGS:
                named = f"{beginning} without an engine"
                yield pytest.param(beginning, NO_ENGINE, marks=_marks(beginning), id=named)
        if command not in RUNNING:
            yield pytest.param(command, {}, marks=_marks(command), id=command)


@pytest.mark.parametrize(("command", "variables"), [*cases()])
def test_documented_command_works(
    command: str, variables: Mapping[str, str], copy: Path, quern: Quern
) -> None:
    before, made = _needed(command) or ("", ".")
    if "openssl" in before + command:
        program("signed release", "openssl")
    least = LEAST.get(command, command)
    for line in (least,) if (copy / made).exists() else (before, least):
        ran = subprocess.run(
            ["bash", "-c", line],
            cwd=copy.parent / "support" if line.startswith("../quern/") else copy,
            env={**quern.environment(variables), "COLUMNS": os.environ.get("COLUMNS", "120")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
