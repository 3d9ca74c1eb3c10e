"""Runs a plan in a virtual environment with the same lock, for machines without an engine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

from pipeline.process.exit_codes import signal_of
from targets.disk import Need
from targets.errors import EnvironmentUnable
from targets.runtimes import child_process
from targets.runtimes.ending import Ending
from targets.runtimes.event_reader import EventReader
from targets.runtimes.interrupts import deferring_signals, interruptible
from targets.runtimes.lease import watched
from targets.runtimes.log import Log, opened_log
from targets.runtimes.oom_kills import oom_kills
from targets.runtimes.process_environment import (
    host_ca_bundle,
    network_environment,
    process_environment,
)
from targets.runtimes.runtime import Mount, OnEvent, RunRequest, RuntimeName
from targets.runtimes.step_timer import StepTimer
from targets.runtimes.workspace import PIPELINE_DIR, Workspace, workspace
from targets.toolchain.toolchain import Toolchain, ToolchainRecord
from targets.toolchain.venv import ensure_venv, venv_needs, venv_python


class VenvRuntime:
    """Each run is one process in a session of its own, with only the variables it needs."""

    name: RuntimeName = "venv"

    def __init__(self, cache_dir: Path, pipeline_dir: Path = PIPELINE_DIR) -> None:
        self._cache = cache_dir
        self._pipeline = pipeline_dir

    def limits_note(self) -> str:
        """Return that only a container can enforce limits."""
        return (
            "a virtual environment enforces no memory or CPU limit, does not block the network "
            "and does not protect other files"
        )

    def prepare(self, toolchain: Toolchain, say: Callable[[str], None]) -> ToolchainRecord:
        """Make the environment ready. See :func:`targets.toolchain.venv.ensure_venv`."""
        with interruptible():
            environment = ensure_venv(toolchain, self._cache, say)
        return ToolchainRecord(
            digest=toolchain.digest,
            runtime=self.name,
            python=environment.python_version,
            details={"environment": environment.folder.name},
        )

    def needs(self, toolchain: Toolchain) -> tuple[Need, ...]:
        """Return the disk space of an environment that does not exist yet, and of its wheels."""
        return venv_needs(toolchain, self._cache)

    def run(self, toolchain: Toolchain, request: RunRequest, on_event: OnEvent) -> None:
        """Run the plan; see :meth:`targets.runtimes.runtime.Runtime.run`."""
        python = venv_python(toolchain, self._cache)
        if not python.exists():
            raise EnvironmentUnable(
                f"the environment of the {toolchain.target} toolchain is gone",
                "run the build again",
            )
        self.run_python(python, toolchain, request, on_event)

    def run_python(
        self, python: Path, toolchain: Toolchain, request: RunRequest, on_event: OnEvent
    ) -> None:
        """Run the plan with the interpreter ``python``."""
        roots = {mount.root: str(_root(mount)) for mount in request.mounts}
        with (
            interruptible(),
            workspace(self._cache, request.plan, roots) as space,
            opened_log(request.log) as log,
        ):
            killed_before = oom_kills()
            timer = StepTimer(request.resources.step_seconds)
            reader = EventReader(on_event, log, request.step_names, timer)
            environment = self._environment(toolchain, request, space)
            code = self._run(python, environment, space, reader, log, timer, request.stdin)
        Ending(
            exit_code=code,
            step=reader.step,
            failure=reader.failure,
            log=request.log,
            time_limit=timer.exceeded,
            out_of_memory=signal_of(code) == "SIGKILL" and oom_kills() > killed_before,
        ).check()

    def _run(
        self,
        python: Path,
        environment: dict[str, str],
        space: Workspace,
        reader: EventReader,
        log: Log,
        timer: StepTimer,
        stdin: IO[bytes] | None,
    ) -> int:
        """Return the exit code; a negative one is a signal, as in ``subprocess``."""
        lease = str(space.lease) if space.lease else None
        command = watched(str(python), lease, "-m", "pipeline", str(space.plan))
        with child_process.start(command, environment, space.home, stdin) as running:
            try:
                with timer.ending(running.kill):
                    child_process.read_until_end(running, reader, log)
                    return running.wait()
            finally:
                with deferring_signals():
                    child_process.end_all(running)

    def _environment(
        self, toolchain: Toolchain, request: RunRequest, space: Workspace
    ) -> dict[str, str]:
        variables = process_environment(
            toolchain, request, home=str(space.home), code=str(self._pipeline.resolve().parent)
        )
        if request.network:
            bundle = host_ca_bundle()
            reach = network_environment(str(bundle) if bundle is not None else None)
            variables = {**reach, **variables}
        return {"PATH": os.environ.get("PATH", os.defpath), **variables}


def _root(mount: Mount) -> Path:
    source = mount.source.resolve()
    return source if source.is_dir() else mount.source.parent.resolve()
