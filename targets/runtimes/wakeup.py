"""Has signals end calls that block, also a signal that comes in the moment before one."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_END = 0  # no signal has this number
_AFTER_SECONDS = (0.05, 0.2, 1.0)
"""When the main thread is woken after a signal: on a busy machine it may not have come to wait."""


@contextmanager
def signals_end_calls() -> Iterator[None]:
    """Have each signal end a call that blocks in the main thread, while the block runs.

    Python takes note of a signal, and calls its handler between two instructions. Where one comes
    after the last instruction and before the thread waits, as for an answer, nothing ends that call
    any more, and the handler is called once the answer is there, perhaps never: see
    https://cr.yp.to/docs/selfpipe.html. So another thread, which learns of each signal by the
    wake-up descriptor, soon gets the main thread out of whatever it waits for.

    Outside the main thread, which alone gets signals, and on Windows, which sends none to threads,
    the block just runs.
    """
    if threading.current_thread() is not threading.main_thread() or sys.platform == "win32":
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    over = threading.Event()
    thread = threading.Thread(target=_wake_main_thread, args=(reader, over), daemon=True)
    handler = signal.signal(signal.SIGURG, _do_nothing)
    descriptor = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(descriptor)
        over.set()
        os.write(writer, bytes([_END]))
        thread.join()
        signal.signal(signal.SIGURG, handler)
        os.close(reader)
        os.close(writer)


def _wake_main_thread(reader: int, over: threading.Event) -> None:
    if sys.platform == "win32":
        return
    while not over.is_set():
        if set(os.read(reader, 512)) <= {_END, signal.SIGURG}:
            continue
        for seconds in _AFTER_SECONDS:
            if not over.wait(seconds):
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGURG)


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """Be a handler: a signal without one, such as SIGURG, ends no call."""
