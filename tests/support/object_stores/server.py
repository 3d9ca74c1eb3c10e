"""A server of objects on this machine, and what lies in it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from targets.toolchain.uv import index_environment, uv

_START_SECONDS = 240


@dataclass(frozen=True)
class ObjectServer:
    """A running server with one bucket, ``team``, whose address ends with a port."""

    remote: str
    """Address of the bucket, as a config has it."""
    port: int
    environment: Mapping[str, str]
    """Variables of somebody who may do everything. They name the server as ``127.0.0.1:PORT``."""
    folder: Path
    """What the server said; with one that speaks TLS alone, ``ca.pem`` and ``server.pem``."""

    def at(self, port: int) -> dict[str, str]:
        """Return the environment of those who ask another port, behind which the server is."""
        here, there = f"127.0.0.1:{self.port}", f"127.0.0.1:{port}"
        return {name: value.replace(here, there) for name, value in self.environment.items()}


def use(environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Set ``environment`` in this process."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def free_port() -> int:
    """Return a port of this machine that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running(
    command: Sequence[str | Path], port: int, folder: Path, environment: Mapping[str, str]
) -> Iterator[None]:
    """Run a server until the block ends; it is entered when somebody listens at ``port``."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "server.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, cwd=folder, env=dict(environment), stdout=output, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            _wait_for(port, process, log)
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        else:
            return


def python_packages(lock: Path, folder: Path) -> Path:
    """Return a folder below ``folder`` with the packages of ``lock``, installed if need be."""
    made = folder / lock.stem
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{lock.stem}.lock"):
        if not made.is_dir():
            partial = made.with_suffix(".partial")
            uv(
                *("pip", "install", "--quiet", "--require-hashes", "--no-deps"),
                *("--index-strategy", "unsafe-best-match"),  # the hashes say what is meant
                *("--python", sys.executable, "--target", str(partial)),
                *("--requirement", str(lock)),
                environment=index_environment(),
            )
            partial.rename(made)
    return made
