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
    REPLY,
    AnswerTimes,
    Failed,
    Loaded,
    Question,
    Reply,
    WorkerSettings,
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

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", worker.__name__, self._settings.model_dump_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        try:
            loaded = self._reply()
        except BaseException:
            self._end()
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
        self._end()

    @property
    def pid(self) -> int:
        """Return the process ID."""
        return self._process.pid

    def ask(self, prompt: Sequence[int], tokens: int) -> AnswerTimes:
        """Generate ``tokens`` tokens after ``prompt`` and return the time of each."""
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        question = Question(ids=tuple(prompt), tokens=tokens)
        self._resume()
        try:
            self._process.stdin.write(question.model_dump_json() + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the process died; its last reply or its exit code says why
        times = self._reply()
        self._suspend()
        assert isinstance(times, AnswerTimes)  # noqa: S101 - the protocol
        return times

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
        reply = REPLY.validate_json(line)
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

    def _end(self) -> None:
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
