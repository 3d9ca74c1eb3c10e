"""What runs beside a job ends it when nobody asks after it, and stays until then."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from targets.systems.engine.keeper import DETACH, READY, RENEW, STOP, kept

LEASE = 3.0
FOR_EVER = ("sleep", "600")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="containers run Linux")

Keep = Callable[..., "subprocess.Popen[str]"]


ENDS = {"exit 0": 0, "exit 3": 3, "kill -11 $$": -11, "kill -9 $$": -9}
"""Ends of a job, and the code that says so."""


@pytest.fixture(scope="module")
def keep() -> Iterator[Keep]:
    started: list[subprocess.Popen[str]] = []

    def start(*command: str, longest: float = 600) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            kept(sys.executable, LEASE, longest, "mark", *command),
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == READY.decode()
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def two_leases_later(keep: Keep) -> dict[str, subprocess.Popen[str]]:
    """Return jobs that were started together, when all that is left of them has been alone for two
    leases; only ``asked after`` was not."""
    jobs = {end: keep("sh", "-c", f"printf half; {end}") for end in ENDS}
    jobs["alone"] = keep("sh", "-c", "echo $$; exec sleep 600")
    jobs["detached"] = keep(*FOR_EVER)
    tell(jobs["detached"], DETACH)
    jobs["detached for long"] = keep(*FOR_EVER, longest=LEASE + 1)
    tell(jobs["detached for long"], DETACH)
    jobs["asked after"] = keep(*FOR_EVER)
    until = time.monotonic() + 2 * LEASE
    while time.monotonic() < until:
        tell(jobs["asked after"], RENEW)
        time.sleep(LEASE / 10)
    return jobs


def said_by(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return [line for line in process.stdout.read().splitlines() if line]


def tell(process: subprocess.Popen[str], name: str) -> None:
    process.send_signal(signal.Signals[name])


def test_one_that_is_asked_after_goes_on(
    two_leases_later: dict[str, subprocess.Popen[str]],
) -> None:
    # Right after it was asked, so the first of these tests.
    assert two_leases_later["asked after"].poll() is None


@pytest.mark.parametrize(("end", "code"), ENDS.items())
def test_how_the_job_ended_is_the_last_line(
    end: str, code: int, two_leases_later: dict[str, subprocess.Popen[str]]
) -> None:
    process = two_leases_later[end]
    assert said_by(process) == ["half", f"mark {code}"]
    assert process.wait() == 0


def test_a_job_that_nobody_asks_after_ends(
    two_leases_later: dict[str, subprocess.Popen[str]],
) -> None:
    process = two_leases_later["alone"]
    (job,) = said_by(process)  # to the end of its output
    assert process.wait() == 0
    with pytest.raises(psutil.NoSuchProcess):
        psutil.Process(int(job)).wait(10)
        psutil.Process(int(job))


def test_one_that_is_detached_goes_on_unasked(
    two_leases_later: dict[str, subprocess.Popen[str]],
) -> None:
    assert two_leases_later["detached"].poll() is None


def test_even_a_detached_job_ends(two_leases_later: dict[str, subprocess.Popen[str]]) -> None:
    assert two_leases_later["detached for long"].wait(30) == 0


def test_stopping_ends_the_job_alone(keep: Keep) -> None:
    process = keep(*FOR_EVER)
    tell(process, STOP)
    assert process.stdout is not None
    assert process.stdout.readline() == "\n"
    assert process.stdout.readline() == "mark -9\n"
    assert process.poll() is None  # what it made can be fetched
