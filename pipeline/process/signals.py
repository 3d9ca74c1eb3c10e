"""Stop at once when told to, also in the middle of a long library call."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

from pipeline.process.exit_codes import SIGNALLED

_STOPPING = (signal.SIGTERM, signal.SIGINT)
_FIRST_PROCESS = 1


def stop_promptly(first_process: bool | None = None) -> None:
    """End this process as soon as SIGTERM or SIGINT arrives.

    A Python signal handler runs only between two bytecodes of the main thread, which may be deep
    in a matrix product for minutes; so the kernel is left to end the process. The kernel does not
    do that to the first process of a container (``first_process``, by default: found out), which
    needs a handler. Nothing needs cleaning up: a step that is not finished lies in a folder that
    is not yet renamed.
    """
    if first_process is None:
        first_process = os.getpid() == _FIRST_PROCESS
    if first_process:
        _exit_from_a_thread()
        return
    for number in _STOPPING:
        signal.signal(number, signal.SIG_DFL)


def _exit_from_a_thread() -> None:
    """The wake-up descriptor is written by the C handler itself, whatever the main thread does;
    a thread waiting on it ends the process as soon as it gets Python's lock."""
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
    """Leave the work to the waiting thread; a handler must exist for the wake-up to happen."""
