"""What it takes from an empty folder with only Python to an answer: ``nox -s bench-installed``.

The wheel of this checkout is built first. Then everything runs as for somebody who has just heard
of Quern: in an empty folder, with empty caches and a home of its own, without an engine. The rows
are the shipped example's. Last, the steps of the GitHub Action build the same, with the cache that
the run before has left.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import requests
import yaml

from targets.cli.options import DEFAULT_CONFIG, PROJECT
from tests.benchmarks import pages
from tests.benchmarks.pages import Section
from tests.support.pipelines import Run

PIPX = "pipx==1.18.4"
_COLUMNS = ("what is typed", "seconds")
_HOW = """\
Wall time of each command, in an empty folder with empty caches and no engine, so that steps run in
a virtual environment. `pipx run` installs Quern and its packages, and the first build fetches and
installs its toolchain. The model is a local folder, as small as the shipped example's; the rows
are the shipped example's."""


def main() -> None:
    """Measure, show, and write the section."""
    arguments = parser().parse_args()
    pages.require_clean(arguments.out)
    load = os.getloadavg()[0]
    beside = f"a load of {load:.0f} by other work" if load >= 1 else ""
    origin = pages.origin("./nox -s bench-installed -- MODEL", beside)
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        rows = _Newcomer(Path(scratch), arguments.model.absolute()).rows()
        section = Section("installed", "From an empty folder", rows, _HOW, _COLUMNS)
        pages.measure(section, arguments.out, origin)


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(prog="nox -s bench-installed --", description=__doc__)
    parser.add_argument("model", type=Path, help="folder of a small base model")
    parser.add_argument("--scratch", type=Path, help="folder for all of it: 4 GB for a while")
    pages.add_out(parser, pages.MEASURED)
    return parser


class _Newcomer:
    """Somebody with an empty folder and Python."""

    def __init__(self, scratch: Path, model: Path) -> None:
        self._scratch = scratch
        self._folder = scratch / "support"
        self._model = model
        self._home = {
            "HOME": str(scratch / "home"),
            "XDG_CACHE_HOME": str(scratch / "home" / ".cache"),
            "PIPX_HOME": str(scratch / "home" / "pipx"),
            "DOCKER_HOST": "unix:///nonexistent.sock",
        }

    def rows(self) -> Iterator[str]:
        """Yield a row for each thing that is typed."""
        wheel = self._wheel()
        self._folder.mkdir()
        shutil.copytree(self._model, self._folder / "base")
        shutil.copy(DEFAULT_CONFIG.with_suffix(".jsonl"), self._folder / "tone.jsonl")
        environment = self._scratch / "environment"
        python = str(environment / "bin" / "python")
        yield self._row(
            f"`python -m venv` and `pip install {PIPX.partition('==')[0]}`",
            [sys.executable, "-m", "venv", str(environment)],
            [python, "-m", "pip", "install", "--quiet", PIPX],
        )
        pipx = [python, "-m", "pipx", "run", "--spec"]
        run = [*pipx, str(wheel), "quern"]
        columns = ["--prompt", "phrase", "--answer", "tone"]
        init = ["init", "--model", "base", "--data", "tone.jsonl", *columns]
        for words in (
            ["--version"],
            init,
            ["build-cpu"],
            ["build-cpu"],
            ["try", "cricket is a wonderful sport!"],
        ):
            again = " again" if words == ["build-cpu"] and (self._folder / "dist").exists() else ""
            yield self._row(f"`pipx run … quern {' '.join(words)}`{again}", [*run, *words])
        yield self._served([*pipx, f"{wheel}[serve]", "quern", "serve", "--port", "0"])
        yield self._action()

    def _wheel(self) -> Path:
        folder = self._scratch / "wheel"
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--wheel-dir", folder, PROJECT], check=True)
        (wheel,) = folder.glob("quern-*.whl")
        return wheel

    def _row(self, what: str, *commands: Sequence[str]) -> str:
        began = time.perf_counter()
        for command in commands:
            done = subprocess.run(
                command,
                cwd=self._folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
                check=False,
            )
            if done.returncode not in (0, 3):  # a build whose quality misses a limit is one
                sys.exit(done.returncode)
        return f"| {what} | {time.perf_counter() - began:.0f} |"

    def _served(self, command: Sequence[str]) -> str:
        """Serve, ask once over HTTP, and stop. What serving needs is installed first."""
        began = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=self._folder, env=self._environment(), stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        try:
            said = next((line for line in process.stdout if line.startswith("http")), "")
            if not said:
                sys.exit("nothing is served")
            address = said.split()[0]
            (model,) = requests.get(f"{address}/models", timeout=60).json()["data"]
            question = {"role": "user", "content": "cricket is a wonderful sport!"}
            asked = {"model": model["id"], "messages": [question]}
            answered = requests.post(f"{address}/chat/completions", json=asked, timeout=60)
            seconds = time.perf_counter() - began
            sys.stderr.write(f"{answered.json()['choices'][0]['message']['content']}\n")
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()
        return f"| `pipx run … quern[serve]` to `serve`, until the first answer | {seconds:.0f} |"

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name != "QUERN_CACHE"}
        return {**kept, **self._home}

    def _action(self) -> str:
        """Run the steps of the action, in a clone as GitHub makes one."""
        action: Mapping[str, Any] = yaml.safe_load((PROJECT / "action.yml").read_text("utf-8"))
        clone, temporary = self._scratch / "action", self._scratch / "temp"
        subprocess.run(
            ["git", "clone", "--quiet", "--no-hardlinks", str(PROJECT), str(clone)], check=True
        )
        temporary.mkdir()
        cache = next(Path(self._home["XDG_CACHE_HOME"]).glob("quern*"))
        (temporary / "quern-cache").symlink_to(cache)
        inputs = {name: str(about["default"]) for name, about in action["inputs"].items()}
        context = {
            **{f"inputs.{name}": value for name, value in inputs.items()},
            "runner.temp": str(temporary),
            "runner.os": "Linux",
            "runner.arch": "X64",
            "github.action_path": str(clone),
            "github.run_id": "1",
            "github.job": "build",
        }
        variables = {
            **self._home,
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTION_PATH": str(clone),
            "GITHUB_WORKSPACE": str(self._folder),
            "GITHUB_STEP_SUMMARY": str(self._scratch / "summary.md"),
        }
        shutil.rmtree(self._folder / "dist")
        began = time.perf_counter()
        ran = Run(context, variables, self._folder).steps(action["runs"]["steps"])
        seconds = time.perf_counter() - began
        if ran.code not in (0, 3):
            sys.stderr.write(ran.stdout + ran.stderr)
            sys.exit(ran.code)
        report = json.loads(next(self._folder.glob("dist/*/cpu/report.json")).read_text("utf-8"))
        cached = sum(step["cached"] for step in report["passes"])
        kept = f"{cached} of {len(report['passes'])} passes cached"
        what = f"the steps of the action, with that cache and none of Quern's packages ({kept})"
        return f"| {what} | {seconds:.0f} |"


if __name__ == "__main__":
    main()
