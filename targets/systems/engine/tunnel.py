"""Reaches an engine's socket through OpenSSH, with the user's own settings, keys and agent."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from targets.errors import EnvironmentUnable
from targets.systems.engine.address import SshPlace

_CONNECT_SECONDS = 20
_OPTIONS = (
    "BatchMode=yes",  # nobody is there to be asked
    "ExitOnForwardFailure=yes",
    "StreamLocalBindUnlink=yes",
    "ControlPath=none",
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


class Tunnel:
    """A socket of this machine that leads to the engine's while ``ssh`` runs."""

    def __init__(self, place: SshPlace) -> None:
        self._place = place
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
                "this system has no sockets through which `ssh` could lead to an engine",
                "give its address as tcp://, with TLS",
            )
        if self._process is not None and self._process.poll() is None:
            return
        self.socket.unlink(missing_ok=True)
        port = ["-p", self._place.port] if self._place.port else []
        options = [word for option in _OPTIONS for word in ("-o", option)]
        forward = ["-N", "-L", f"{self.socket}:{self._place.socket}", "--", self._place.to]
        keeper = [sys.executable, "-I", "-S", "-c", _UNTIL_PARENT_ENDS, str(os.getpid())]
        with self._log.open("wb") as log:
            try:
                self._process = subprocess.Popen(
                    [*keeper, self._program(), *options, *port, *forward],
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

    @staticmethod
    def _program() -> str:
        found = shutil.which("ssh")
        if found is None:
            raise EnvironmentUnable(
                "there is no `ssh` here, through which the engine is reached",
                "install OpenSSH's client: `apt-get install openssh-client`",
            )
        return found

    def _wait_until_open(self, process: subprocess.Popen[bytes], family: int) -> None:
        deadline = time.monotonic() + 2 * _CONNECT_SECONDS
        while not self._accepts(family):
            if process.poll() is not None:
                raise self._refused()
            if time.monotonic() > deadline:
                self.close()
                raise EnvironmentUnable(
                    f"ssh has not reached {self._place.to} within {2 * _CONNECT_SECONDS} s",
                    f"try it by hand: {self._by_hand()}",
                )
            time.sleep(0.02)

    def _accepts(self, family: int) -> bool:
        with socket.socket(family) as end:
            try:
                end.connect(str(self.socket))
            except OSError:
                return False
        return True

    def _by_hand(self) -> str:
        port = f" -p {self._place.port}" if self._place.port else ""
        return f"`ssh{port} {self._place.to} docker version`"

    def _refused(self) -> EnvironmentUnable:
        text = self._log.read_text("utf-8", "replace")
        whole = f"ssh cannot log in to {self._place.to}: {self.said() or 'it said nothing'}"
        if "host key" in text.lower():
            hint = (
                "nothing was sent. Compare the machine's key with the one you were given, then "
                f"accept it once by hand: {self._by_hand()}"
            )
            return EnvironmentUnable(whole, hint)
        if "permission denied" in text.lower():
            hint = (
                "no key that ssh offers is accepted there: put your public key into that user's "
                f"authorized_keys, or load the right one with `ssh-add`; then {self._by_hand()} "
                "asks for no password"
            )
            return EnvironmentUnable(whole, hint)
        return EnvironmentUnable(whole, f"try it by hand: {self._by_hand()}")
