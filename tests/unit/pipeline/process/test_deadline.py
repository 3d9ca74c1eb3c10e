"""Code of a model or a data set that never ends is interrupted, and nothing else is."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest

from pipeline.process.deadline import cpu_limit, time_limit


def test_what_never_ends_is_interrupted() -> None:
    started = time.monotonic()
    with pytest.raises(TimeoutError, match=r"it takes longer than 0\.2 s"), time_limit(0.2):
        while True:
            pass
    assert time.monotonic() - started < 5


def test_what_ends_is_not() -> None:
    with time_limit(0.2):
        value = sum(range(1000))
    time.sleep(0.3)
    assert value == 499_500


def test_a_timer_that_ran_before_goes_on() -> None:
    heard = threading.Event()
    handler = signal.signal(signal.SIGALRM, lambda *_: heard.set())
    before = signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with time_limit(5):
            pass
        left, _ = signal.getitimer(signal.ITIMER_REAL)
        assert 0 < left <= 0.5
        assert heard.wait(5)
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *before)


def test_another_thread_is_left_alone() -> None:
    done = []

    def work() -> None:
        with time_limit(0.05):
            time.sleep(0.2)
        done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


NATIVE = """
import re
from pipeline.process.deadline import cpu_limit
with cpu_limit(0.2):
    re.match("(a+)+$", "a" * 60 + "b")
"""


def test_native_code_that_never_ends_ends_its_process() -> None:
    done = subprocess.run([sys.executable, "-c", NATIVE], check=False, timeout=60)
    assert done.returncode == -signal.SIGVTALRM


def test_cpu_time_counts_after_the_block_no_more() -> None:
    with cpu_limit(5):
        value = sum(range(1000))
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
    assert value == 499_500
