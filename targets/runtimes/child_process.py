"""Starts the process of a run, reads its output, and ends it with all of its children."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

from targets.runtimes.event_reader import EventReader
from targets.runtimes.log import Log

_STOP_SECONDS = 2

_Taker = Callable[[bytes], None]


def start(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    stdin: IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Start ``command``, shielded from the driver's signals. Its outputs are pipes."""
    windows = sys.platform == "win32"
    return subprocess.Popen(
        [*command],
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL if stdin is None else stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=not windows,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )


def read_until_end(process: subprocess.Popen[bytes], reader: EventReader, log: Log) -> None:
    """Feed ``reader`` with its standard output and ``log`` with its standard error until the
    process ends."""
    if process.stdout is None or process.stderr is None:
        raise ValueError("the process has no pipes for its outputs")
    takers = {process.stdout.fileno(): reader.feed, process.stderr.fileno(): log.write}
    if hasattr(os, "pidfd_open"):
        _read_until_gone(os.pidfd_open(process.pid), takers)
    else:
        _read_until_closed(takers)
    reader.close()


def _read_until_gone(ended: int, takers: Mapping[int, _Taker]) -> None:
    """Feed each of ``takers`` from its descriptor until the process has ended, as the descriptor
    ``ended`` says, which is closed.

    The end of its outputs is not enough: a child that survives a killed process keeps them open.
    """
    try:
        with selectors.DefaultSelector() as selector:
            for output in (*takers, ended):
                selector.register(output, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select()}
                for output in ready - {ended}:
                    data = os.read(output, 1 << 16)
                    takers[output](data)
                    if not data:
                        selector.unregister(output)
                if ready == {ended}:
                    break
    finally:
        os.close(ended)


def _read_until_closed(takers: Mapping[int, _Taker]) -> None:
    """Feed each of ``takers`` from its descriptor until nobody can write to that any more."""

    def feed(output: int, take: _Taker) -> None:
        while data := os.read(output, 1 << 16):
            take(data)

    first, *others = takers.items()
    threads = [threading.Thread(target=feed, args=other, daemon=True) for other in others]
    for thread in threads:
        thread.start()
    feed(*first)
    for thread in threads:
        thread.join()


def end_all(process: subprocess.Popen[bytes]) -> None:
    """End the process and all of its children: with time to exit first (not on Windows), then by
    force."""
    if hasattr(os, "killpg"):
        _end_group(process, os.killpg)
    else:
        _end_tree(process)


def _end_tree(process: subprocess.Popen[bytes]) -> None:
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
    process.kill()
    process.wait()


def _end_group(process: subprocess.Popen[bytes], send: Callable[[int, int], None]) -> None:
    """End the group of the process; ``send`` sends a signal to a group."""
    if process.poll() is None:
        with suppress(ProcessLookupError):  # all gone
            send(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
    with suppress(ProcessLookupError):
        send(process.pid, signal.Signals["SIGKILL"])
    process.wait()
