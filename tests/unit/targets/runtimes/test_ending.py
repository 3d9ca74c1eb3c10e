"""Reading events, and what the end of a process means."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pipeline.contract.errors import Cause
from pipeline.contract.events import Event, StepFailed, StepProgress, StepStarted
from targets.cli.options import PROJECT
from targets.errors import EnvironmentUnable, InputRefused, PassFailed, ProcessCrashed, QuernError
from targets.runtimes.driver import driver_of, new_run_id, this_driver
from targets.runtimes.ending import Ending
from targets.runtimes.event_reader import EventReader
from targets.runtimes.process_environment import proxy_on_this_machine
from tests.support.capabilities import program, skip
from tests.support.mounts import Mounts, mounts

__all__ = ["mounts"]

LOG = Path("run.log")


def test_events_however_they_are_cut_and_chatter_in_the_log() -> None:
    text = (
        b'{"event":"started","step":"lora"}\nLoading weights: 100%\n{"event":"new kind"}\n'
        b'{"event":"progress","step":"lora","done":1,"total":2}\n'
        b'{"event":"failed","step":"lora","cause":"error","message":"m"}'
    )
    for size in (1, 7, len(text)):
        events: list[Event] = []
        log = io.BytesIO()
        reader = EventReader(events.append, log)
        for start in range(0, len(text), size):
            reader.feed(text[start : start + size])
        reader.close()

        assert [type(event) for event in events] == [StepStarted, StepProgress, StepFailed]
        assert log.getvalue() == b'Loading weights: 100%\n{"event":"new kind"}\n'
        assert reader.step == "lora"
        assert reader.failure == events[-1]


def ending(
    code: int, failure: StepFailed | None = None, *, oom: bool = False, log: Path = LOG
) -> Ending:
    return Ending(code, "lora", failure, log, out_of_memory=oom, memory_bytes=2**31)


def test_a_line_without_end_is_not_kept_in_memory(tmp_path: Path) -> None:
    events: list[Event] = []
    with (tmp_path / "log").open("wb") as log:
        reader = EventReader(events.append, log)
        for _ in range(200):
            reader.feed(b"x" * 2**20)
            assert len(vars(reader)["_rest"]) <= 2**23
        reader.feed(b"\n" + StepStarted(step="s").model_dump_json().encode() + b"\n")
        reader.close()
    assert [event.step for event in events] == ["s"]
    assert (tmp_path / "log").stat().st_size >= 200 * 2**20


def test_a_good_end_is_no_error() -> None:
    ending(0).check()


@pytest.mark.parametrize(
    ("cause", "error"),
    [
        ("disk_full", EnvironmentUnable),
        ("network", EnvironmentUnable),
        ("error", PassFailed),
        ("out_of_memory", PassFailed),
        ("bad_input", InputRefused),
    ],
)
@pytest.mark.parametrize("code", [0, 1])
def test_told_failures(
    cause: Cause,
    error: type[QuernError],
    code: int,
) -> None:
    told = StepFailed(step="lora", cause=cause, message="what", hint="do this")

    with pytest.raises(error, match=r"^lora: what$") as caught:
        ending(code, told).check()

    assert type(caught.value) is error
    assert caught.value.hint == "do this"
    assert caught.value.log == LOG


def test_out_of_memory_outranks_what_the_process_could_still_say() -> None:
    told = StepFailed(step="lora", cause="error", message="a worker died")

    with pytest.raises(PassFailed, match=r"lora ran out of memory \(limit 2\.0 GiB\)") as caught:
        ending(1, told, oom=True).check()

    assert "resources.memory" in caught.value.hint


@pytest.mark.parametrize("code", [-signal.SIGILL, 128 + signal.SIGILL])
def test_an_illegal_instruction_is_put_down_to_the_cpu(code: int, tmp_path: Path) -> None:
    with pytest.raises(PassFailed, match=r"ended by SIGILL \(Illegal instruction\)") as caught:
        ending(code, log=tmp_path / "no.log").check()

    assert "this CPU lacks" in caught.value.hint


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_from_outside(number: signal.Signals) -> None:
    with pytest.raises(PassFailed, match=f"killed from outside \\({number.name}\\)"):
        ending(128 + number).check()


@pytest.mark.parametrize("name", ["SIGABRT", "SIGBUS", "SIGFPE", "SIGSEGV", "SIGVTALRM"])
def test_a_crash_is_one_whatever_the_signal(name: str) -> None:
    for code in (-signal.Signals[name], 128 + signal.Signals[name]):
        with pytest.raises(ProcessCrashed, match=f"lora broke: ended by {name}") as caught:
            ending(code).check()
        assert caught.value.step == "lora"
        assert caught.value.exit_code == 5


def test_crash_and_silent_exit(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text("first\n" * 50 + "last words\n")

    with pytest.raises(PassFailed, match=r"lora broke: ended by SIGSEGV \(Segmentation fault\)"):
        ending(128 + signal.SIGSEGV, log=log).check()
    with pytest.raises(PassFailed, match="exit code 3") as caught:
        ending(3, log=log).check()

    assert caught.value.hint.endswith("last words")
    assert caught.value.hint.count("\n") == 8


def test_silence_on_a_full_disk_is_put_down_to_the_disk(mounts: Mounts, tmp_path: Path) -> None:
    log = mounts.small(tmp_path / "full", "64k") / "run.log"
    log.write_text("no more could be writ")
    with pytest.raises(EnvironmentUnable, match=f"lora broke: the disk of {log.parent} is full"):
        ending(1, log=log).check()


def test_a_run_knows_whether_its_driver_lives() -> None:
    mine = driver_of(new_run_id())
    assert mine is not None
    assert mine == this_driver()
    assert mine.pid == os.getpid()
    assert not mine.gone
    assert replace(mine, started=mine.started - 6000).gone, "a reused process id"
    assert replace(mine, boot="0123456789ab").gone, "the machine has started again"
    assert not replace(mine, host="elsewhere", started=1).gone
    assert not replace(mine, space="1_1", started=1).gone, "another container's process"
    with subprocess.Popen(["true"], stdout=subprocess.PIPE) as ended:
        assert ended.communicate()
    assert replace(mine, pid=ended.pid).gone


def test_a_driver_that_has_ended_is_gone_before_anybody_asks_how() -> None:
    """In a container without an init, nobody ever does."""
    tell = "from targets.runtimes.driver import new_run_id; print(new_run_id())"
    command = [sys.executable, "-c", tell]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as ended:
        assert ended.stdout is not None
        driver = driver_of(ended.stdout.read().strip())
        while psutil.Process(ended.pid).status() != psutil.STATUS_ZOMBIE:
            pass
        assert driver is not None
        assert driver.gone


def test_no_driver_is_one_of_another_form() -> None:
    assert driver_of("not-a-run") is None


def test_a_clock_that_steps_changes_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, created = this_driver(), psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: created(process) + 5)
    assert this_driver() == mine
    assert not mine.gone


def test_nothing_is_said_of_a_driver_whose_start_counts_by_another_clock() -> None:
    """In another namespace for time, the same process has started at another one."""
    look = (
        "import sys; from targets.runtimes.driver import driver_of; "
        "print(driver_of(sys.argv[1]).gone)"
    )
    elsewhere = [program("clock", "unshare"), "--time", "--boottime", "1000", "--fork"]
    command = [*elsewhere, sys.executable, "-c", look, new_run_id()]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr:
        skip("clock", done.stderr.strip())
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize(
    ("variables", "local"),
    [
        ({"HTTPS_PROXY": "http://me:pw@127.0.0.1:3128"}, True),
        ({"https_proxy": "localhost:3128"}, True),
        ({"HTTPS_PROXY": "http://proxy.invalid:3128", "NO_PROXY": "localhost"}, False),
        ({}, False),
    ],
)
def test_proxy_that_only_this_machine_reaches(variables: dict[str, str], local: bool) -> None:
    assert proxy_on_this_machine(variables) is local
