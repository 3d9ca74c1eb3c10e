"""A runtime like a virtual environment, whose processes are forks of one that is warm."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from pathlib import Path

from targets.runtimes.environment import process_environment
from targets.runtimes.events import EventReader
from targets.runtimes.failures import Ending
from targets.runtimes.runtime import OnEvent, RunRequest
from targets.runtimes.venv import VenvRuntime
from targets.runtimes.workspace import workspace
from targets.toolchain.toolchain import Toolchain
from tests.support.plans import ROOT


class WarmRuntime(VenvRuntime):
    """Imports the libraries of a toolchain once, not in each of the many processes of a test."""

    def __init__(self, cache_dir: Path) -> None:
        super().__init__(cache_dir)
        self._folder = cache_dir
        self._servers: dict[str, subprocess.Popen[str]] = {}
        self._ended = ExitStack()

    def __enter__(self) -> WarmRuntime:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.close()

    def run_python(
        self, python: Path, toolchain: Toolchain, request: RunRequest, on_event: OnEvent
    ) -> None:
        """Run the plan in a fork; its events are read when it has ended."""
        roots = {mount.root: str(_root(mount.source.resolve())) for mount in request.mounts}
        request.log.parent.mkdir(parents=True, exist_ok=True)
        with (
            workspace(self._folder, request.plan, roots) as space,
            request.log.open("ab", buffering=0) as log,
        ):
            code = self._ask(python, toolchain, request, space.plan)
            reader = EventReader(on_event, log)
            reader.feed(Path(f"{space.plan}.events").read_bytes())
            reader.close()
            log.write(Path(f"{space.plan}.log").read_bytes())
        Ending(code, reader.step, reader.failure, request.log).check()

    def _ask(self, python: Path, toolchain: Toolchain, request: RunRequest, plan: Path) -> int:
        server = self._servers.get(toolchain.digest)
        if server is None:
            server = self._servers[toolchain.digest] = self._started(python, toolchain, request)
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(f"{plan}\n")
        server.stdin.flush()
        return int(server.stdout.readline())

    def _started(
        self, python: Path, toolchain: Toolchain, request: RunRequest
    ) -> subprocess.Popen[str]:
        environment = process_environment(
            toolchain, request, home=str(self._folder / "home"), code=str(ROOT)
        )
        (self._folder / "home").mkdir(exist_ok=True)
        server = subprocess.Popen(
            [str(python), "-m", "tests.families.server"],
            cwd=ROOT,
            # Libraries read these when they are imported.
            env={**environment, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ended.callback(server.wait)
        assert server.stdin is not None
        self._ended.callback(server.stdin.close)
        return server


def _root(source: Path) -> Path:
    return source if source.is_dir() else source.parent
