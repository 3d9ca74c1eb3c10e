"""Ends the process at once on signals, even during a long library call; and a copy of one."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pipeline.process.exit_codes import SIGNALLED

_STOPPING = (signal.SIGTERM, signal.SIGINT)
_FIRST_PROCESS = 1
_HANDLED = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Signals that a driver may handle. Windows has no SIGHUP."""


def exit_promptly_on_signal(first_process: bool | None = None) -> None:
    """End this process as soon as SIGTERM or SIGINT arrives.

    A Python signal handler runs only between two bytecodes of the main thread, which may spend
    minutes in a matrix product. So the signals get their default action, and the kernel ends the
    process. The first process of a container (``first_process``; default: detected) has no default
    action and needs a handler. Nothing has to be cleaned up, because an unfinished step is in a
    folder that is not renamed yet.
    """
    if first_process is None:
        first_process = os.getpid() == _FIRST_PROCESS
    if first_process:
        _exit_from_a_thread()
        return
    for number in _STOPPING:
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def copying_this_process() -> Iterator[None]:
    """Hold signals back while this process is copied: the copy would handle them as this one does.
    It calls :func:`end_with_the_original` first of all."""
    if sys.platform == "win32":
        raise NotImplementedError("there, no process can be copied")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_the_original() -> None:
    """Have signals end this copy of a process without a word; those that it ignores stay so."""
    if sys.platform == "win32":
        return
    for number in _HANDLED:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)


def _exit_from_a_thread() -> None:
    """End the process from a thread that waits on the wake-up descriptor.

    The signal handler in C writes to that descriptor, whatever the main thread does; the thread
    then only needs Python's global lock.
    """
    if sys.platform == "win32":
        return  # no process is the first of a container
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for number in _STOPPING:
        signal.signal(number, _ignore)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_wait, args=(reader,), daemon=True).start()


def _wait(reader: int) -> None:
    while True:
        for number in os.read(reader, 1):
            if number in _STOPPING:
                os._exit(SIGNALLED + number)


def _ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing: a handler must exist so that the wake-up descriptor is written."""
