"""Reading events, and what the end of a process means."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.contract.errors import Cause
from pipeline.contract.events import Event, StepFailed, StepProgress, StepStarted
from targets.cli.options import PROJECT
from targets.console.live_view import LiveView
from targets.console.plain_view import PlainView
from targets.console.safe_console import SafeConsole
from targets.errors import EnvironmentUnable, InputRefused, PassFailed, ProcessCrashed, QuernError
from targets.runtimes.driver import driver_of, new_run_id, this_driver
from targets.runtimes.ending import Ending
from targets.runtimes.event_reader import EventReader
from targets.runtimes.log import MOST, opened_log
from targets.runtimes.process_environment import proxy_on_this_machine
from targets.runtimes.step_timer import StepTimer
from tests.support.capabilities import program, skip
from tests.support.mounts import Mounts, mounts

__all__ = ["mounts"]

LOG = Path("run.log")


def test_events_however_they_are_cut_and_chatter_in_the_log(tmp_path: Path) -> None:
    text = (
        b'{"event":"started","step":"lora"}\nLoading weights: 100%\n{"event":"new kind"}\n'
        b'{"event":"progress","step":"lora","done":1,"total":2}\n'
        b'{"event":"failed","step":"lora","cause":"error","message":"m"}'
    )
    for size in (1, 7, len(text)):
        events: list[Event] = []
        log_file = tmp_path / f"{size}.log"
        with opened_log(log_file) as log:
            reader = EventReader(events.append, log, ["lora"])
            for start in range(0, len(text), size):
                reader.feed(text[start : start + size])
            reader.close()

        assert [type(event) for event in events] == [StepStarted, StepProgress, StepFailed]
        assert log_file.read_bytes() == b'Loading weights: 100%\n{"event":"new kind"}\n'
        assert reader.step == "lora"
        assert reader.failure == events[-1]


def ending(
    code: int, failure: StepFailed | None = None, *, oom: bool = False, log: Path = LOG
) -> Ending:
    return Ending(code, "lora", failure, log, out_of_memory=oom, memory_bytes=2**31)


def test_a_line_without_end_is_kept_neither_in_memory_nor_on_the_disk(tmp_path: Path) -> None:
    events: list[Event] = []
    with opened_log(tmp_path / "log") as log:
        reader = EventReader(events.append, log, ["s"])
        log.write(b"the beginning")
        for _ in range(200):
            reader.feed(b"x" * 2**20)
            assert len(vars(reader)["_rest"]) <= 2**23
        reader.feed(b"\n" + StepStarted(step="s").model_dump_json().encode() + b"\nthe end")
        reader.close()
    assert [event.step for event in events] == ["s"]
    text = (tmp_path / "log").read_bytes()
    assert text.startswith(b"the beginningxxx")
    assert text.endswith(b"xxx\nthe end\n")
    assert len(text) <= MOST + 2**20
    (left_out,) = re.findall(rb"\n\.\.\. ([\d,]+) bytes left out \.\.\.\n", text)
    kept = len(text) - len(b"\n...  bytes left out ...\n") - len(left_out)
    assert int(left_out.replace(b",", b"")) + kept == len(b"the beginning\nthe end\n") + 200 * 2**20


def test_the_processes_of_a_build_share_the_room_of_their_log(tmp_path: Path) -> None:
    for number in range(3):
        with opened_log(tmp_path / "log") as log:
            for _ in range(70):
                log.write(b"x" * 2**20)
            log.write(b"end %d" % number)
    text = (tmp_path / "log").read_bytes()
    assert len(text) <= MOST + 2**20
    assert all(b"end %d" % number in text for number in range(3))


HOSTILE: list[dict[str, Any]] = [
    {"event": "started", "step": "other"},
    {"event": "warning", "step": "other", "message": "m"},
    {"event": "progress", "step": "s", "done": 10**400, "total": 1},
    {"event": "progress", "step": "s", "done": 2, "total": -(10**400)},
    {"event": "finished", "step": "s", "seconds": float("inf"), "peak_rss_bytes": 1},
    {"event": "finished", "step": "s", "seconds": float("nan"), "peak_rss_bytes": 1},
    {"event": "finished", "step": "s", "seconds": -1, "peak_rss_bytes": 1},
]
ODD: list[dict[str, Any]] = [
    {"event": "progress", "step": "s", "done": 1, "total": 0, "metrics": {"loss": float("nan")}},
    {"event": "progress", "step": "s", "done": -3, "total": -9, "unit": "u" * 10**6},
    {"event": "progress", "step": "s", "done": 2, "total": 2**62, "metrics": {"x": float("inf")}},
    {
        "event": "progress",
        "step": "s",
        "done": 3,
        "total": 3,
        "metrics": {f"{i}": 1e308 for i in range(999)},
    },
    {"event": "note", "step": "s", "message": "m" * 10**6},
    {"event": "failed", "step": "s", "cause": "error", "message": "m" * 10**6, "hint": "h" * 10**6},
    {"event": "finished", "step": "s", "seconds": 1e15, "peak_rss_bytes": -(10**300)},
]


@pytest.mark.parametrize("kind", [PlainView, LiveView])
def test_no_event_breaks_or_floods_what_shows_it(
    kind: type[PlainView] | type[LiveView], tmp_path: Path
) -> None:
    out = io.StringIO()
    view = kind(SafeConsole(file=out, width=200))
    seen: list[Event] = []

    def show(event: Event) -> None:
        seen.append(event)
        view.event(event)

    with opened_log(tmp_path / "log") as log:
        reader = EventReader(show, log, ["s"])
        for event in [{"event": "started", "step": "s"}, *HOSTILE, *ODD]:
            reader.feed(json.dumps(event).encode() + b"\n")
        for number in range(5_000):
            said = {"event": "note", "step": "s", "message": str(number)}
            reader.feed(json.dumps(said).encode() + b"\n")
    assert [event.event for event in seen[1 : len(ODD) + 1]] == [event["event"] for event in ODD]
    assert len(seen) < 300
    assert len(out.getvalue()) < 100_000
    assert (tmp_path / "log").read_bytes().count(b"\n") == len(HOSTILE) + 5_000 - (
        len(seen) - len(ODD) - 1
    )


def test_the_time_of_a_step_begins_once(tmp_path: Path) -> None:
    ended = threading.Event()
    timer = StepTimer(0.5)
    with opened_log(tmp_path / "log") as log, timer.ending(ended.set):
        reader = EventReader(lambda _: None, log, ["a", "b"], timer)
        for _ in range(100):
            for step in ("b", "a", "b"):
                reader.feed(StepStarted(step=step).model_dump_json().encode() + b"\n")
            if ended.wait(0.05):
                break
    assert timer.exceeded == 0.5
    assert reader.step == "b"


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
