"""Ends a command cleanly when the user, or whatever started it, stops it."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

from targets.errors import Interrupted
from targets.runtimes.wakeup import signals_end_calls

# Windows has no SIGHUP.
_STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
_ENDING_SECONDS = 5
"""Time to end within. Cleaning up goes on through further signals; after that they count again."""
_TIDYING_SECONDS = 2
"""Longest that a signal waits while something tidies up."""
_SOON_SECONDS = 0.05
_AT_ONCE = b"""
error: stopped at once
  \xe2\x86\x92 the next build removes what is left; finished steps are kept
"""
"""Written past all streams of Python, one of which may be what hangs."""


@contextmanager
def heeding_first_signal() -> Iterator[None]:
    """Have Ctrl-C, SIGTERM or SIGHUP raise ``KeyboardInterrupt`` in the block, which is all that
    this process does.

    What stops builds often signals more than once: a terminal and the front door, or a CI service
    that loses patience. Only the first signal counts; the others come while the process ends. Where
    that takes too long, the next one ends it at once, with the same exit code.

    While a context manager ends, a signal waits: what is half removed would be left.
    """
    once = _Once(_end_at_once)
    try:
        _install(once)
        sys.unraisablehook = _say_unless_interrupt
        yield
    except KeyboardInterrupt:  # while modules are imported, or at the very end
        raise SystemExit(Interrupted.exit_code) from None
    except Exception:
        # Libraries make errors of their own of it: pydantic does, while it makes a class.
        if once.signalled:
            raise SystemExit(Interrupted.exit_code) from None
        raise
    finally:
        once.heard()
        if once.signalled:
            _end_without_half_made_handlers()
        # Python gives the signals their default action when it ends, unless they are ignored.
        for number in _STOPPING:
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def stoppable() -> Iterator[None]:
    """Do so while the block runs, where that is not so anyway.

    Only the main thread of a process gets signals; elsewhere the block just runs.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with signals_end_calls():
        if isinstance(signal.getsignal(signal.SIGINT), _Once):
            yield
            return
        once = _Once(_interrupt)
        before = _install(once)
        try:
            yield
        finally:
            waits = once.waits
            once.heard()
            for number, was in before.items():
                signal.signal(number, was)
            if waits:
                signal.raise_signal(signal.SIGINT)


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM and SIGHUP inside the block into :class:`Interrupted`."""
    with stoppable():
        try:
            yield
        except KeyboardInterrupt:
            raise Interrupted(
                "stopped; nothing half-written is left", "run again: finished steps are kept"
            ) from None


@contextmanager
def deferring_signals() -> Iterator[None]:
    """Hold those signals back inside the block, so that cleaning up is not interrupted. The first
    of them comes at its end: it may be the only one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in _STOPPING}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def _install(handler: _Once) -> Mapping[signal.Signals, Any]:
    """Install ``handler``; return what was there."""
    before = {number: signal.getsignal(number) for number in _STOPPING}
    for number, was in before.items():
        # After `nohup`, the end of the terminal is not the end of the command.
        if number == signal.SIGINT or was is not signal.SIG_IGN:
            signal.signal(number, handler)
    return before


class Signalled(KeyboardInterrupt):
    """A signal that stops the program.

    No plain ``KeyboardInterrupt``: where one passes through text that is run as code, as what makes
    data classes is, Python in the end kills itself by SIGINT, even if it was caught
    (``run_eval_code_obj`` in https://github.com/python/cpython/blob/3.11/Python/pythonrun.c).
    """


class _Once:
    """A handler that interrupts the program, and not again while it ends."""

    def __init__(self, lose_patience: Callable[[], NoReturn]) -> None:
        """``lose_patience`` is what a signal does after :data:`_ENDING_SECONDS`."""
        self.signalled = False
        self._waiting_since: float | None = None
        self._since: float | None = None
        self._lose_patience = lose_patience
        self._raised: weakref.ref[Signalled] | None = None

    @property
    def waits(self) -> bool:
        """Whether a signal has come that has not interrupted the program yet."""
        return self._since is None and self._waiting_since is not None

    def heard(self) -> None:
        """Take note that the program has ended for it."""
        self._raised = None
        self._since = self._since or time.monotonic()

    def __call__(self, _number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._since is None:
            if self._must_wait(now, frame):
                return
            self._since = now
            self._interrupt()
        if now - self._since > _ENDING_SECONDS:
            self._since = now
            self._lose_patience()

    def _must_wait(self, now: float, frame: FrameType | None) -> bool:
        """Return whether something tidies up at this moment; the signal then comes again soon."""
        if self._waiting_since is None:
            if not _ends_a_block(frame):
                return False
            self._waiting_since = now
            self._come_again()
        return now - self._waiting_since <= _TIDYING_SECONDS and _ends_a_block(frame)

    def _interrupt(self) -> NoReturn:
        self.signalled = True
        signalled = Signalled()
        self._raised = weakref.ref(signalled, self._swallowed)
        try:
            raise signalled
        finally:
            del signalled  # its traceback has this frame

    def _swallowed(self, raised: weakref.ref[Signalled]) -> None:
        """Interrupt again: nobody has the exception any more, and the program goes on.

        Python drops those in callbacks that cannot raise, such as those of weak references, and in
        comparisons of keys; libraries in C and Rust where they ask whether something is there.
        """
        if raised is not self._raised:
            return
        self._since = self._waiting_since = None
        self._come_again()

    def _come_again(self) -> None:
        """Have the signal come again until it interrupts the program."""
        # Not as a `Thread`: one that is just being started has a lock that another would wait for.
        _thread.start_new_thread(self._signal_again_and_again, ())

    def _signal_again_and_again(self) -> None:
        time.sleep(_SOON_SECONDS)
        while self._since is None:
            _signal_main_thread()
            time.sleep(_SOON_SECONDS)


def _end_without_half_made_handlers() -> None:
    """Have no error of ``logging`` shown at the end: a handler that the signal left half made, as
    while ``concurrent.futures`` is imported, cannot be flushed
    (``shutdown`` in https://github.com/python/cpython/blob/3.11/Lib/logging/__init__.py)."""
    import logging

    logging.raiseExceptions = False


def _say_unless_interrupt(unraisable: sys.UnraisableHookArgs) -> None:
    """Show an exception that cannot be raised, but for those that come again; a hook of `sys`."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)


def _ends_a_block(frame: FrameType | None) -> bool:
    """Return whether a context manager of Python's ends in ``frame``, or below it."""
    while frame is not None:
        if frame.f_code.co_name == "__exit__":
            return True
        frame = frame.f_back
    return False


def _signal_main_thread() -> None:
    if sys.platform == "win32":
        _thread.interrupt_main()
    else:  # also out of a call that blocks
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _interrupt() -> NoReturn:
    raise Signalled


def _end_at_once() -> NoReturn:
    """End this process. What it started ends with it, and the next build cleans up."""
    with suppress(OSError):
        os.write(2, _AT_ONCE)
    os._exit(Interrupted.exit_code)
