"""Starts the process of a run, reads its output, and ends it with all of its children."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

from targets.runtimes.event_reader import EventReader

_STOP_SECONDS = 2


def start(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, log: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start ``command``, shielded from the driver's signals.

    Its standard output is a pipe, its standard error goes to ``log``.
    """
    windows = sys.platform == "win32"
    return subprocess.Popen(
        [*command],
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=not windows,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )


def read_until_end(process: subprocess.Popen[bytes], reader: EventReader) -> None:
    """Feed ``reader`` until the process ends."""
    if process.stdout is None:
        raise ValueError("the process has no pipe for its output")
    output = process.stdout.fileno()
    if hasattr(os, "pidfd_open"):
        _read_until_gone(process, output, reader)
    else:
        while data := os.read(output, 1 << 16):
            reader.feed(data)
    reader.close()


def _read_until_gone(process: subprocess.Popen[bytes], output: int, reader: EventReader) -> None:
    """Feed ``reader`` until the process has ended.

    The end of its output is not enough: a child that survives a killed process keeps it open.
    """
    ended = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            selector.register(ended, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select()}
                if output in ready:
                    data = os.read(output, 1 << 16)
                    reader.feed(data)
                    if not data:
                        selector.unregister(output)
                elif ended in ready:
                    break
    finally:
        os.close(ended)


def end_all(process: subprocess.Popen[bytes]) -> None:
    """End the process and all of its children: with time to exit first (not on Windows), then by
    force."""
    if hasattr(os, "killpg"):
        _end_group(process)
    else:
        _end_tree(process)


def _end_tree(process: subprocess.Popen[bytes]) -> None:
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
    process.kill()
    process.wait()


def _end_group(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        _signal_group(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return  # all gone
