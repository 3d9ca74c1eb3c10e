"""Signals to a command, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from targets.cli.options import PROJECT

Run = Callable[[str], tuple[int, str]]

COMMAND = """
import os, signal, sys, time, weakref
from targets.runtimes import interrupts

def stop():
    os.kill(os.getpid(), signal.SIGINT)

def wait():
    time.sleep(10)
    sys.exit("nobody stopped it")

with interrupts.heeding_first_signal():
    {body}
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return what does ``body`` as a command: its exit code, and what it said of errors."""

    def ran(body: str) -> tuple[int, str]:
        code = COMMAND.format(body=body.strip().replace("\n", "\n    "))
        (tmp_path / "command.py").write_text(code)
        # As commands are started: Python makes the exit code otherwise for a file.
        done = subprocess.run(
            [sys.executable, "-m", "command"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr

    return ran


def test_the_first_signal_interrupts_and_the_others_do_not(run: Run) -> None:
    code, said = run(
        """
try:
    stop()
    wait()
finally:
    stop()
    print("tidied up", file=sys.stderr)
"""
    )
    assert (code, said) == (130, "tidied up\n")


def test_a_signal_while_something_is_tidied_up_comes_afterwards(run: Run) -> None:
    """It may be the only one: a build must not go on with its next step."""
    code, said = run(
        """
with interrupts.interruptible():
    with interrupts.deferring_signals():
        stop()
        print("tidied up", file=sys.stderr)
    wait()
"""
    )
    assert (code, said) == (130, "tidied up\n")


def test_a_signal_while_a_block_ends_comes_afterwards(run: Run) -> None:
    """Wherever it comes: a folder that is half removed would be left."""
    code, said = run(
        """
import contextlib

@contextlib.contextmanager
def folder():
    try:
        yield
    finally:
        stop()
        time.sleep(0.2)
        print("removed", file=sys.stderr)

with folder():
    pass
wait()
"""
    )
    assert (code, said) == (130, "removed\n")


def test_a_block_that_does_not_end_is_interrupted(run: Run) -> None:
    code, said = run(
        """
class Endless:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        stop()
        wait()

with Endless():
    pass
"""
    )
    assert (code, said) == (130, "")


def test_a_signal_that_python_swallows_in_a_callback_counts(run: Run) -> None:
    """As those that it calls while it imports modules."""
    code, said = run(
        """
class Lock:
    pass

lock = Lock()
kept = weakref.ref(lock, lambda _: stop())
del lock
wait()
"""
    )
    assert (code, said) == (130, "")


def test_a_signal_that_a_library_drops_counts(run: Run) -> None:
    """As those do that ask whether something is there, and take any error for no."""
    code, said = run(
        """
try:
    stop()
except BaseException:
    pass
wait()
"""
    )
    assert (code, said) == (130, "")


def test_a_signal_of_which_a_library_makes_an_error_of_its_own_counts(run: Run) -> None:
    """As pydantic does, of one that comes while it makes a class."""
    code, said = run(
        """
import pydantic

class Late:
    @classmethod
    def __get_pydantic_core_schema__(cls, source, handler):
        class Choice(str):
            def __hash__(self):
                stop()
        return {"type": "literal", "expected": [Choice("a")]}

pydantic.TypeAdapter(Late)
wait()
"""
    )
    assert (code, said) == (130, "")


def test_a_signal_in_text_that_is_run_as_code_keeps_the_exit_code(run: Run) -> None:
    """As that with which data classes are made."""
    assert run("exec('stop(); wait()')") == (130, "")


def test_a_signal_that_leaves_a_log_handler_half_made_shows_nothing(run: Run) -> None:
    code, said = run(
        """
import logging
half = logging.StreamHandler.__new__(logging.StreamHandler)
logging.Handler.__init__(half)
stop()
wait()
"""
    )
    assert (code, said) == (130, "")


def test_other_errors_in_callbacks_are_shown(run: Run) -> None:
    code, said = run(
        """
class Lock:
    def __del__(self):
        raise ValueError("of a callback")

Lock()
"""
    )
    assert code == 0
    assert "ValueError: of a callback" in said


def test_where_tidying_up_takes_too_long_the_next_signal_ends_it_at_once(run: Run) -> None:
    code, said = run(
        """
interrupts._ENDING_SECONDS = 0
try:
    stop()
    wait()
finally:
    stop()
    wait()
"""
    )
    assert code == 130
    assert said.splitlines() == [
        "",
        "error: stopped at once",
        "  → the next build removes what is left; finished steps are kept",
    ]


def test_ctrl_c_before_anybody_heeds_signals_shows_nothing() -> None:
    """While the first module of a command is imported."""
    code = """
import os, runpy, signal, sys

class Stopping:
    def find_spec(self, name, *_):
        if name == "targets.errors":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Stopping())
sys.argv[1:] = ["--version"]
runpy.run_module("targets", run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
