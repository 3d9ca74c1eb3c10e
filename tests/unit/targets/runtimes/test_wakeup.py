"""A signal that a waiting thread has taken note of, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from targets.cli.options import PROJECT

# A call that goes on after the signal stands for one that begins just after it: Python has noted
# the signal, and nobody calls the handler. The answer for which the call waits comes at last.
WAITING = """
import os, signal, threading, time
from contextlib import nullcontext
from targets.runtimes.wakeup import signals_end_calls

class Came(Exception):
    pass

def come(number, frame):
    raise Came

signal.signal(signal.SIGTERM, come)
signal.siginterrupt(signal.SIGTERM, False)
reader, writer = os.pipe()
main_thread = threading.main_thread().ident
threading.Timer(0.2, signal.pthread_kill, [main_thread, signal.SIGTERM]).start()
answered = threading.Event()

def reply():
    answered.set()
    os.write(writer, b"answer")

answer = threading.Timer(ANSWER, reply)
answer.start()
with BLOCK:
    try:
        os.read(reader, 6)
        time.sleep(0.1)
    except Came:
        print("waited for the answer" if answered.is_set() else "was ended")
answer.cancel()
assert signal.getsignal(signal.SIGURG) == signal.SIG_DFL
"""

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="sends no signals to threads (signals_end_calls)"
)


def call_in(block: str, answer: float) -> str:
    """Return what became of the call in ``block``; the answer comes after so many seconds."""
    code = WAITING.replace("BLOCK", block).replace("ANSWER", str(answer))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_signal_that_came_just_before_a_call_ends_it() -> None:
    assert call_in("signals_end_calls()", answer=60) == "was ended"


def test_without_that_the_call_goes_on() -> None:
    """Else the test above shows nothing."""
    assert call_in("nullcontext()", answer=0.6) == "waited for the answer"


def test_so_does_one_where_two_look_after_it() -> None:
    assert call_in("signals_end_calls(), signals_end_calls()", answer=60) == "was ended"
