"""Quern as an installed package: the same commands and the same keys as in a clone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from targets.cli.options import PROJECT
from targets.target import target_names
from tests.support.command import Quern
from tests.support.project import make_project
from tests.support.quick_builds import quick_project

CHECKERS = ("twine==7.0.0", "check-wheel-contents==0.6.3")


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel of Quern, and nothing of the clone."""

    folder: Path
    cache: Path

    def __call__(
        self, *command: str | Path, folder: Path, changes: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment in ``folder``."""
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(
            [self.folder / "bin" / command[0], *command[1:]],
            cwd=folder,
            env={**kept, "QUERN_CACHE": str(self.cache), "COLUMNS": "200", **(changes or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel of this checkout, by the build backend that pyproject.toml names."""
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, PROJECT],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("quern-*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path, quern: Quern, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Install the wheel in an empty environment, with the versions of requirements.lock."""
    folder = tmp_path_factory.mktemp("installed") / "environment"
    uv = [sys.executable, "-m", "uv"]
    python = folder / "bin" / "python"
    locked = ("--constraint", str(PROJECT / "requirements.lock"))
    for command in (
        [*uv, "venv", "--python", sys.executable, str(folder)],
        [*uv, "pip", "install", "--python", str(python), *locked, str(wheel)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return Installed(folder, quern.cache)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a user's repository whose own packages are called as Quern's."""
    make_project(tmp_path)
    for name in ("targets", "pipeline"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the wrong package')\n")
    return tmp_path


def test_the_wheel_has_every_file_of_the_clone_and_takes_no_common_name(wheel: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "quern", "targets", "pipeline", "images", "configs"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    ours = {name if name.startswith("quern/") else f"quern/{name}" for name in listed}
    stubs = {name for name in names if name.endswith(".pyi")}
    assert names - stubs == ours
    assert {name.removesuffix("i") for name in stubs} <= ours


def test_a_plan_has_the_keys_of_the_clone(installed: Installed, quern: Quern, folder: Path) -> None:
    config = folder / "small.toml"
    here = quern("plan", "--config", str(config), "--target", "cpu", "--json")
    there = installed(
        *("quern", "plan", "--config", config, "--target", "cpu", "--json"), folder=folder
    )
    assert there.returncode == 0, there.stderr

    def keys(output: str) -> list[str]:
        (plan,) = json.loads(output)["plans"]
        return [step["key"] for step in plan["steps"]]

    assert keys(there.stdout) == keys(here.stdout)


def test_sessions_are_commands(installed: Installed, folder: Path) -> None:
    assert installed("quern", "--version", folder=folder).stdout == "quern 0.1.0\n"
    shown = installed("quern", "build-cpu", "--help", folder=folder)
    assert shown.stdout.startswith("Usage: quern build"), shown.stderr
    by_module = installed("python", "-m", "quern", "build-cpu", "--help", folder=folder)
    assert by_module.stdout == shown.stdout
    # What writes files of Quern itself is of no use where it is installed.
    listed = installed("quern", "--help", folder=folder).stdout
    assert "doctor" in listed
    assert " lock " not in listed


def test_every_session_that_is_a_command_is_one_here(installed: Installed, folder: Path) -> None:
    of_commands = {
        path.stem.rstrip("_").replace("_", "-")
        for path in (PROJECT / "targets" / "cli" / "commands").glob("[!_]*.py")
    }
    of_targets = {f"{name}-{target}" for name in ("build", "check") for target in target_names()}
    sessions = of_commands - {"lock", "schema"} | of_targets
    program = (
        "import sys; from quern.house import house; sys.path.insert(0, str(house()))\n"
        "from click.testing import CliRunner; from targets.cli.main import main\n"
        "names = sys.argv[1:]\n"
        "codes = {name: CliRunner().invoke(main, [name, '-h']).exit_code for name in names}\n"
        "print(*[name for name, code in codes.items() if code])"
    )
    ran = installed("python", "-c", program, *sorted(sessions), folder=folder)
    assert (ran.stdout.strip(), ran.stderr) == ("", "")


def test_messages_name_its_own_command(installed: Installed, folder: Path) -> None:
    ended = installed("quern", "try", "--config", "small.toml", "hello", folder=folder)
    assert ended.returncode == 4
    assert "quern build-cpu" in ended.stderr
    assert "nox" not in ended.stderr


def test_a_shell_completes_commands(installed: Installed, folder: Path) -> None:
    words = {"COMP_WORDS": "quern pl", "COMP_CWORD": "1", "_QUERN_COMPLETE": "bash_complete"}
    completed = installed("quern", folder=folder, changes=words).stdout.split()
    assert completed == ["plain,plan"]


PROGRAM = """
import json, sys
import quern

(plan,) = quern.plan(sys.argv[1], targets=["cpu"])
keys = [planned.step.key for planned in plan.steps]
try:
    quern.plan(sys.argv[2])
except quern.ConfigError as error:
    problem = error.problems[0]
    print(json.dumps([keys, error.exit_code, problem.line, problem.key]))
"""


def test_a_program_plans_and_gets_errors_as_exceptions(
    installed: Installed, quern: Quern, tmp_path: Path
) -> None:
    make_project(tmp_path)
    config, wrong = tmp_path / "small.toml", tmp_path / "wrong.toml"
    wrong.write_text(config.read_text("utf-8").replace("r = 8", "rnak = 8"), "utf-8")
    ran = installed("python", "-c", PROGRAM, config, wrong, folder=tmp_path)
    assert ran.returncode == 0, ran.stderr
    keys, code, line, key = json.loads(ran.stdout)
    plans = json.loads(quern("plan", "--config", str(config), "--target", "cpu", "--json").stdout)[
        "plans"
    ]
    assert keys == [step["key"] for step in plans[0]["steps"]]
    at = wrong.read_text("utf-8").splitlines().index("rnak = 8") + 1
    assert (code, line, key) == (2, at, "passes.lora.rnak")


TYPED = """
import quern

(plan,) = quern.plan("small.toml", targets=["cpu"])
reveal_type(plan.steps[0].step.key)
try:
    (report,) = quern.build("small.toml")
    reveal_type(report.status)
    reveal_type(report.checks[0].value)
    report.outcome
except quern.ChecksFailed as error:
    reveal_type(error.reports[0].target)
except quern.ConfigError as error:
    reveal_type(error.problems[0].line)
quern.build(3)
"""


def test_a_type_checker_sees_what_is_behind_the_package(
    installed: Installed, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(TYPED.lstrip(), "utf-8")
    python = ("--python-executable", str(installed.folder / "bin" / "python"))
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", *python, "program.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line.split(":", 1)[1] for line in ran.stdout.splitlines()]
    assert lines == [
        '4: note: Revealed type is "str"',
        """7: note: Revealed type is "Literal['passed'] | Literal['failed'] | """
        """Literal['unverified']\"""",
        '8: note: Revealed type is "float | None"',
        '9: error: "Report" has no attribute "outcome"  [attr-defined]',
        '11: note: Revealed type is "str"',
        '13: note: Revealed type is "int | None"',
        '14: error: Argument 1 to "build" has incompatible type "int"; expected '
        '"str | PathLike[str]"  [arg-type]',
    ]


def test_a_program_with_modules_of_these_names_is_told(installed: Installed, folder: Path) -> None:
    ran = installed("python", "-c", "import quern; quern.plan", folder=folder)
    assert ran.returncode == 1
    assert "ImportError: Quern needs its own package 'targets'" in ran.stderr


@pytest.mark.slow
def test_those_who_publish_packages_find_nothing_wrong(wheel: Path) -> None:
    for command in (
        ("twine", "check", "--strict", str(wheel)),
        ("check-wheel-contents", str(wheel)),
    ):
        requirement = next(one for one in CHECKERS if one.startswith(f"{command[0]}=="))
        done = subprocess.run(
            [sys.executable, "-m", "uv", "tool", "run", "--from", requirement, *command],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.mark.slow
def test_the_program_of_the_page_builds_what_the_command_built(
    installed: Installed, tmp_path: Path
) -> None:
    project = make_project(tmp_path)
    project.config.rename(tmp_path / "support.toml")
    build = ("quern", "build-cpu", "--config", "support.toml", "--json")
    no_engine = {"DOCKER_HOST": "unix:///nonexistent.sock"}
    built = installed(*build, folder=tmp_path, changes=no_engine)
    status = json.loads(built.stdout)["builds"][0]["status"]
    assert (built.returncode, status) in ((0, "passed"), (3, "failed")), built.stderr
    page = (PROJECT / "docs" / "how-to.md").read_text("utf-8")
    program = page.partition("```\nimport quern\n")[2].partition("```")[0]
    assert program
    ran = installed("python", "-c", f"import quern\n{program}", folder=tmp_path, changes=no_engine)
    assert ran.returncode == 0, ran.stderr
    report = json.loads((tmp_path / "dist/small/cpu/report.json").read_text("utf-8"))
    failed = [check["name"] for check in report["checks"] if check["status"] == "failed"]
    first, *_, last = ran.stdout.splitlines()
    if failed:  # a check that failed runs again
        assert (first, last) == ("cpu ['quality']", str(failed))
    else:
        assert first == "cpu []"


NOTEBOOK = PROJECT / "docs" / "examples" / "quern.ipynb"
NOTEBOOK_PACKAGES = ("nbclient==0.11.0", "ipykernel==7.4.0")


@pytest.mark.slow
def test_the_notebook_of_the_page_runs(installed: Installed, tmp_path: Path) -> None:
    project = quick_project(tmp_path)
    project.config.rename(tmp_path / "support.toml")
    shutil.copy(NOTEBOOK, tmp_path)
    python = installed.folder / "bin" / "python"
    pip = (sys.executable, "-m", "uv", "pip", "install", "--python", str(python))
    subprocess.run([*pip, *NOTEBOOK_PACKAGES], check=True)
    no_engine = {"DOCKER_HOST": "unix:///nonexistent.sock"}
    command = ("jupyter", "execute", "--inplace", "quern.ipynb")
    ran = installed(*command, folder=tmp_path, changes=no_engine)
    assert ran.returncode == 0, ran.stderr
    cells = json.loads((tmp_path / "quern.ipynb").read_text("utf-8"))["cells"]
    shown = [
        "".join(output["data"]["text/plain"])
        for cell in cells
        for output in cell.get("outputs", ())
        if output["output_type"] == "execute_result"
    ]
    report = json.loads((tmp_path / "dist/small/cpu/report.json").read_text("utf-8"))
    assert shown[1] == repr(report["status"])
    assert all(repr(check["name"]) in shown[2] for check in report["checks"])
    assert not any(cell.get("outputs") for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"])
