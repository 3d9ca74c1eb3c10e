"""A runtime like a virtual environment, whose processes are forks of one that is warm."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from pipeline.contract.plan import Plan
from targets.runtimes.ending import Ending
from targets.runtimes.event_reader import EventReader
from targets.runtimes.log import opened_log
from targets.runtimes.process_environment import process_environment
from targets.runtimes.runtime import Mount, OnEvent, RunRequest
from targets.runtimes.venv import VenvRuntime
from targets.runtimes.workspace import workspace
from targets.toolchain.toolchain import Toolchain
from targets.toolchain.venv import venv_python
from tests.support.plans import ROOT
from tests.support.warm_process import WarmProcess


class WarmRuntime(VenvRuntime):
    """Imports the libraries of a toolchain once, not in each of the many processes of a test."""

    def __init__(self, cache: Path, packages: Sequence[str] = ()) -> None:
        """``packages`` of our own that its processes have as well: nobody may change them then."""
        super().__init__(cache)
        self._packages = packages
        self._folder = cache
        self._processes: dict[str, WarmProcess] = {}
        self._ended = ExitStack()

    def __enter__(self) -> WarmRuntime:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.close()

    def run(self, toolchain: Toolchain, request: RunRequest, on_event: OnEvent) -> None:
        """Run the plan in a fork; its events are read when it has ended."""
        roots = {mount.root: str(_root(mount)) for mount in request.mounts}
        with workspace(self._folder, request.plan, roots) as space, opened_log(request.log) as log:
            output = space.plan.with_suffix(".events")
            code = self._ask(toolchain, output, request.log, "pipeline", str(space.plan))
            reader = EventReader(on_event, log, request.step_names)
            reader.feed(output.read_bytes())
            reader.close()
        Ending(code, reader.step, reader.failure, request.log).check()

    def output_of(self, toolchain: Toolchain, module: str, *arguments: str) -> str:
        """Return what ``python -m module`` with ``arguments`` writes to standard output."""
        with tempfile.TemporaryDirectory() as scratch:
            output, log = Path(scratch) / "output", Path(scratch) / "log"
            code = self._ask(toolchain, output, log, module, *arguments)
            assert code == 0, log.read_text("utf-8")[-3000:]
            return output.read_text("utf-8")

    def _ask(self, toolchain: Toolchain, output: Path, log: Path, *arguments: str) -> int:
        process = self._processes.get(toolchain.digest)
        if process is None:
            process = self._processes[toolchain.digest] = self._started(toolchain)
        module, *rest = arguments
        return process.run(module, rest, output, log)

    def _started(self, toolchain: Toolchain) -> WarmProcess:
        home = self._folder / "home"
        home.mkdir(exist_ok=True)
        nothing = RunRequest(Plan(build="families", steps=(), threads=1), mounts=(), log=home)
        variables = process_environment(toolchain, nothing, home=str(home), code=str(ROOT))
        process = WarmProcess(venv_python(toolchain, self._folder), variables, 1, self._packages)
        self._ended.callback(process.close)
        return process


def _root(mount: Mount) -> Path:
    source = mount.source.resolve()
    return source if source.is_dir() else source.parent
