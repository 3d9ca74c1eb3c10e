"""Reaches another machine through OpenSSH, with the user's own settings, keys and agent."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from targets.errors import EnvironmentUnable

_CONNECT_SECONDS = 20
_OPTIONS = (
    "BatchMode=yes",  # nobody is there to be asked
    "ExitOnForwardFailure=yes",
    "StreamLocalBindUnlink=yes",
    f"ConnectTimeout={_CONNECT_SECONDS}",
    "ServerAliveInterval=10",
    "ServerAliveCountMax=3",
)
_UNTIL_PARENT_ENDS = """
import ctypes, os, signal, sys
parent, *command = sys.argv[1:]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(parent):
    os.execvp(command[0], command)
"""
"""Runs a command that ends with this process, however that ends (PR_SET_PDEATHSIG)."""


def to_engine(there: str) -> Callable[[Path], list[str]]:
    """Return the options with which ``ssh`` makes a socket lead to the socket ``there``."""
    return lambda socket: ["-o", "ControlPath=none", "-N", "-L", f"{socket}:{there}"]


def for_commands(socket: Path) -> list[str]:
    """Return the options with which ``ssh`` lets commands use its login, through ``socket``."""
    return ["-o", "ControlMaster=yes", "-o", f"ControlPath={socket}", "-N"]


@dataclass(frozen=True)
class SshLogin:
    """Who to log in as, and where."""

    to: str
    """``USER@MACHINE``, as ``ssh`` takes it."""
    port: str | None = None

    def command(self, options: Sequence[str], *command: str) -> list[str]:
        """Return the command line of ``ssh``. Raises ``EnvironmentUnable`` if there is none."""
        port = ["-p", self.port] if self.port else []
        chosen = [word for option in _OPTIONS for word in ("-o", option)]
        return [_program(), *chosen, *port, *options, "--", self.to, *command]

    def by_hand(self, tried: str) -> str:
        """Return what a user types who tries ``tried`` there."""
        port = f" -p {self.port}" if self.port else ""
        return f"`ssh{port} {self.to} {tried}`"


class Tunnel:
    """A socket of this machine that leads to another one while ``ssh`` runs."""

    def __init__(self, login: SshLogin, way: Callable[[Path], list[str]], tried: str) -> None:
        """``way`` is where the socket leads, ``tried`` a command that shows a user whether it
        does."""
        self._login = login
        self._way = way
        self._by_hand = login.by_hand(tried)
        self._process: subprocess.Popen[bytes] | None = None

    @cached_property
    def _kept(self) -> tempfile.TemporaryDirectory[str]:
        """Return the folder of the socket, which goes with this object. A socket's path has 107
        bytes at most, so it is not in the cache."""
        return tempfile.TemporaryDirectory(prefix="quern-")

    @property
    def socket(self) -> Path:
        """Return the socket that leads there."""
        return Path(self._kept.name) / "s"

    @property
    def _log(self) -> Path:
        return Path(self._kept.name) / "log"

    def open(self) -> None:
        """Log in, unless that is so already. Raises ``EnvironmentUnable`` with what ``ssh`` says.

        Only for the main thread: ``ssh`` ends with the thread that started it.
        """
        if not hasattr(socket, "AF_UNIX"):
            raise EnvironmentUnable(
                "this system has no sockets through which `ssh` could lead elsewhere",
                "use Linux, macOS or WSL; an engine can have an address tcp://, with TLS",
            )
        if self._process is not None and self._process.poll() is None:
            return
        self.socket.unlink(missing_ok=True)
        keeper = [sys.executable, "-I", "-S", "-c", _UNTIL_PARENT_ENDS, str(os.getpid())]
        with self._log.open("wb") as log:
            try:
                self._process = subprocess.Popen(
                    [*keeper, *self._login.command(self._way(self.socket))],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            except OSError as error:
                raise EnvironmentUnable(f"ssh cannot be started: {error}") from error
        self._wait_until_open(self._process, socket.AF_UNIX)

    def said(self) -> str:
        """Return the last line that ``ssh`` wrote."""
        try:
            lines = self._log.read_text("utf-8", "replace").split("\n")
        except OSError:
            return ""
        said = [line.strip() for line in lines if line.strip()]
        return said[-1] if said else ""

    def close(self) -> None:
        """Log out."""
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(2)
            self._process.kill()
            self._process.wait()
            self._process = None

    def _wait_until_open(self, process: subprocess.Popen[bytes], family: int) -> None:
        deadline = time.monotonic() + 2 * _CONNECT_SECONDS
        while not self._accepts(family):
            if process.poll() is not None:
                raise self._refused()
            if time.monotonic() > deadline:
                self.close()
                raise EnvironmentUnable(
                    f"ssh has not reached {self._login.to} within {2 * _CONNECT_SECONDS} s",
                    f"try it by hand: {self._by_hand}",
                )
            time.sleep(0.02)

    def _accepts(self, family: int) -> bool:
        with socket.socket(family) as end:
            try:
                end.connect(str(self.socket))
            except OSError:
                return False
        return True

    def _refused(self) -> EnvironmentUnable:
        text = self._log.read_text("utf-8", "replace")
        whole = f"ssh cannot log in to {self._login.to}: {self.said() or 'it said nothing'}"
        if "host key" in text.lower():
            hint = (
                "nothing was sent. Compare the machine's key with the one you were given, then "
                f"accept it once by hand: {self._by_hand}"
            )
            return EnvironmentUnable(whole, hint)
        if "permission denied" in text.lower():
            hint = (
                "no key that ssh offers is accepted there: put your public key into that user's "
                f"authorized_keys, or load the right one with `ssh-add`; then {self._by_hand} "
                "asks for no password"
            )
            return EnvironmentUnable(whole, hint)
        return EnvironmentUnable(whole, f"try it by hand: {self._by_hand}")


def _program() -> str:
    found = shutil.which("ssh")
    if found is None:
        raise EnvironmentUnable(
            "there is no `ssh` here, through which other machines are reached",
            "install OpenSSH's client: `apt-get install openssh-client`",
        )
    return found
