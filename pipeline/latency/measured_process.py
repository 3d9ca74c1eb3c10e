"""Starts the process that is measured, sends it prompts, and ends it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType

from typing_extensions import Self

from pipeline.contract.errors import ArtifactError, BeyondCpuError, StepError

# Imported, so that its code is in the key of each step that measures with it.
from pipeline.latency import worker
from pipeline.latency.protocol import (
    LOAD,
    AnswerTimes,
    Failed,
    Loaded,
    Question,
    Ready,
    Reply,
    WorkerSettings,
    from_line,
    to_line,
)
from pipeline.process.exit_codes import describe_exit, has_crashed, signal_of

_END_SECONDS = 20


class MeasuredProcess:
    """A fresh process that has loaded the model, and runs as long as the ``with`` block.

    Raises :class:`ArtifactError` or :class:`BeyondCpuError` for an artifact that cannot be used,
    ``MemoryError`` if memory runs out, and :class:`StepError` if the process dies.
    """

    def __init__(self, settings: WorkerSettings, takes_turns: bool = False) -> None:
        """``takes_turns`` says that other processes are measured while this one waits. It is then
        suspended, because the threads of ONNX Runtime keep spinning for some 20 ms after their
        work, and would take CPU time from the next process."""
        self._settings = settings
        self._suspends = takes_turns and sys.platform != "win32"
        self._started: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it before its ``with`` block: it imports its libraries, and then waits for that."""
        self._started = subprocess.Popen(
            [sys.executable, "-m", worker.__name__, to_line(self._settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def wait_until_ready(self) -> None:
        """Wait until the libraries are imported."""
        ready = self._reply()
        assert isinstance(ready, Ready)  # noqa: S101 - the protocol

    def __enter__(self) -> Self:
        if self._started is None:
            start_together([self])
        try:
            self._send(LOAD)
            loaded = self._reply()
        except BaseException:
            self.end()
            raise
        assert isinstance(loaded, Loaded)  # noqa: S101 - the protocol
        self.loaded = loaded
        self._suspend()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """Return the process ID."""
        return self._process.pid

    def ask(self, prompt: Sequence[int], tokens: int) -> AnswerTimes:
        """Generate ``tokens`` tokens after ``prompt`` and return the time of each."""
        question = Question(ids=tuple(prompt), tokens=tokens)
        self._resume()
        self._send(to_line(question))
        times = self._reply()
        self._suspend()
        assert isinstance(times, AnswerTimes)  # noqa: S101 - the protocol
        return times

    @property
    def _process(self) -> subprocess.Popen[str]:
        assert self._started is not None  # noqa: S101 - its ``with`` block has begun
        return self._started

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        try:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the process died; its last reply or its exit code says why

    def _suspend(self) -> None:
        self._signal("SIGSTOP")

    def _resume(self) -> None:
        self._signal("SIGCONT")

    def _signal(self, name: str) -> None:
        if self._suspends:
            self._process.send_signal(signal.Signals[name])

    def _reply(self) -> Reply:
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        line = self._process.stdout.readline()
        if not line:
            raise self._death()
        reply: Reply = from_line(line)
        if not isinstance(reply, Failed):
            return reply
        match reply.cause:
            case "memory":
                raise MemoryError(reply.message)
            case "beyond_cpu":
                raise BeyondCpuError(reply.message)
            case "artifact":
                raise ArtifactError(reply.message)

    def _death(self) -> Exception:
        code = self._process.wait()
        ended_by = signal_of(code)
        if ended_by == "SIGKILL":
            return StepError(
                "the process that is timed was killed",
                "give the build more memory",
                "out_of_memory",
            )
        died = f"the process that answers with it died: {describe_exit(code)}"
        if ended_by and not has_crashed(code):
            return StepError(died)
        return ArtifactError(died)

    def end(self) -> None:
        """End it, if it was started."""
        if self._started is None:
            return
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        self._resume()
        try:
            self._process.stdin.close()
            self._process.wait(_END_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def start_together(processes: Sequence[MeasuredProcess]) -> None:
    """Start ``processes`` and wait until all have imported their libraries: they do so at the same
    time, and then wait for their ``with`` blocks without taking time from the one that is measured.

    If one fails, none is left.
    """
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.wait_until_ready()
    except BaseException:
        for process in processes:
            process.end()
        raise
