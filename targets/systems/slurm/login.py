"""Runs commands on the login machine of a cluster, through ``ssh`` or here, with ``sh`` alone."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import IO, TypeVar

from targets.errors import EnvironmentUnable
from targets.foreign_text import one_line
from targets.systems.tunnel import SshLogin, Tunnel, for_commands

Got = TypeVar("Got")

_DROPPED = 255
"""Exit code of ``ssh`` itself."""
_ANSWER_SECONDS = 120
_PAUSE_SECONDS = 1.0
_PIECE = 1 << 20
_TRIED = "sinfo"


class Dropped(Exception):
    """The login was lost, or Slurm does not answer: that may pass."""


class Refused(EnvironmentUnable):
    """A command there failed, and said why."""

    def __init__(self, said: str) -> None:
        super().__init__(said, "so says a command on the login machine of the system")


class Login:
    """The login machine. All but :meth:`run_beside` is for one thread."""

    def __init__(self, name: str, address: SshLogin | None, patience: float) -> None:
        """``name`` is that of the system; ``address`` is ``None`` for this machine. ``patience`` is
        for how many seconds what drops is tried again."""
        self.name = name
        self._address = address
        self._patience = patience
        self._tunnel = None if address is None else Tunnel(address, for_commands, _TRIED)

    def again(self, what: Callable[[], Got]) -> Got:
        """Return what ``what`` returns, also if the login drops before that.

        Raises ``EnvironmentUnable`` once that has been so for too long, and at once if there never
        was one.
        """
        self._open()
        deadline: float | None = None
        while True:
            try:
                return what()
            except Dropped as dropped:
                deadline = time.monotonic() + self._patience if deadline is None else deadline
                if time.monotonic() > deadline:
                    raise EnvironmentUnable(
                        f"{self.name} does not answer any more: {dropped}",
                        "a job that has begun runs on there; run again when it answers: this build "
                        "goes on with it",
                    ) from None
                time.sleep(_PAUSE_SECONDS)
                with suppress(EnvironmentUnable):
                    self._open()

    def run(
        self,
        script: str,
        *arguments: str,
        given: Callable[[], Iterable[bytes]] = tuple,
        seconds: float = _ANSWER_SECONDS,
    ) -> str:
        """Return what ``script`` writes; ``given`` makes its standard input.

        Raises :class:`Refused` with the last line that it said if it fails.
        """
        return self.again(lambda: self._run(script, arguments, given, seconds))

    def run_beside(self, script: str, *arguments: str) -> str:
        """Return what ``script`` writes, from another thread and without another try."""
        return self._run(script, arguments, tuple, _ANSWER_SECONDS)

    def pieces(self, script: str, *arguments: str) -> Iterator[bytes]:
        """Yield what ``script`` writes, as it comes. Raises :class:`Dropped`, :class:`Refused`."""
        with tempfile.TemporaryFile() as said:
            process = self._started(script, arguments, subprocess.PIPE, said)
            assert process.stdout is not None  # noqa: S101 - a pipe
            assert process.stdin is not None  # noqa: S101
            process.stdin.close()
            try:
                while piece := process.stdout.read(_PIECE):
                    yield piece
                process.wait(_ANSWER_SECONDS)
            finally:
                _end(process)
                process.stdout.close()
            _check(process.returncode, said)

    def close(self) -> None:
        """Log out."""
        if self._tunnel is not None:
            self._tunnel.close()

    def _open(self) -> None:
        if self._tunnel is not None:
            self._tunnel.open()

    def _run(
        self,
        script: str,
        arguments: Iterable[str],
        given: Callable[[], Iterable[bytes]],
        seconds: float,
    ) -> str:
        with tempfile.TemporaryFile() as written, tempfile.TemporaryFile() as said:
            process = self._started(script, arguments, written, said)
            assert process.stdin is not None  # noqa: S101 - a pipe
            try:
                with suppress(BrokenPipeError):  # why, its exit code says
                    for piece in given():
                        process.stdin.write(piece)
                    process.stdin.close()
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                raise Dropped(f"no answer within {seconds:.0f} s") from None
            finally:
                _end(process)
                with suppress(BrokenPipeError):
                    process.stdin.close()
            _check(process.returncode, said)
            written.seek(0)
            return written.read().decode("utf-8", "replace")

    def _started(
        self, script: str, arguments: Iterable[str], written: int | IO[bytes], said: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        command = ["env", "LC_ALL=C", "sh", "-c", script, "sh", *arguments]
        if self._address is not None and self._tunnel is not None:
            through = ["-o", "ControlMaster=no", "-o", f"ControlPath={self._tunnel.socket}"]
            command = self._address.command(through, shlex.join(command))
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=written,
            stderr=said,
            start_new_session=True,  # Ctrl-C is for the driver
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


def _check(code: int, said: IO[bytes]) -> None:
    if code == 0:
        return
    said.seek(0)
    lines = said.read().decode("utf-8", "replace").strip().split("\n")
    last = one_line(lines[-1]) or f"exit code {code}"
    raise (Dropped if code == _DROPPED else Refused)(last)
