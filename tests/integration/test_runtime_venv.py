"""The same stand-in pipeline as a process of this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline.contract.events import Event, StepFinished, StepStarted
from targets.errors import Interrupted, PassFailed
from targets.runtimes.runtime import Mount, ProcessLimits
from targets.runtimes.venv import VenvRuntime
from tests.support.runtime_support import (
    CRASHES,
    STANDIN,
    heeded,
    in_background,
    request,
    signal_self_when,
    toolchain,
    wait_for,
)

PYTHON = Path(sys.executable)


@pytest.fixture
def runtime(tmp_path: Path) -> VenvRuntime:
    return VenvRuntime(tmp_path / "cache", STANDIN)


def ignore(_event: Event) -> None:
    """Take an event and do nothing."""


def pids_in(work: Path) -> list[int]:
    return [int(pid) for pid in (work / "pids").read_text().split()]


def assert_all_gone(pids: list[int], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while any(psutil.pid_exists(pid) for pid in pids):
        assert time.monotonic() < end, f"still there: {pids}"
        time.sleep(0.05)


def test_environment_and_roots(
    runtime: VenvRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret of the caller")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:1")
    data = tmp_path / "rows" / "data.jsonl"
    data.parent.mkdir()
    data.write_text("one row")
    events: list[Event] = []
    wanted = request(tmp_path, {"do": "look", "read": str(data)}, mounts=(Mount("data", data),))

    runtime.run_python(PYTHON, toolchain(tmp_path), wanted, events.append)

    seen = json.loads((tmp_path / "work" / "seen.json").read_text())
    assert [type(event) for event in events] == [StepStarted, StepFinished]
    assert seen["roots"] == {"data": str(data.parent), "work": str(tmp_path / "work")}
    assert seen["read"] == "one row"
    assert "HF_TOKEN" not in seen["environment"]
    assert "HTTPS_PROXY" not in seen["environment"]
    assert seen["environment"]["QUERN_TEST"] == "of the target"
    log = (tmp_path / "run.log").read_text()
    assert "library chatter" in log
    assert "not an event" in log
    assert list((tmp_path / "cache" / "runs").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupt_ends_the_whole_group(
    number: signal.Signals, runtime: VenvRuntime, tmp_path: Path
) -> None:
    pids = tmp_path / "work" / "pids"

    with heeded(number), in_background(signal_self_when(pids, number)), pytest.raises(Interrupted):
        runtime.run_python(PYTHON, toolchain(tmp_path), request(tmp_path, {"do": "wait"}), ignore)

    assert time.time() - pids.stat().st_mtime < 10
    assert_all_gone(pids_in(tmp_path / "work"))


def test_a_system_without_process_groups_leaves_nothing_behind_either(
    runtime: VenvRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for lacking in ("pidfd_open", "killpg"):  # as on Windows
        monkeypatch.delattr(os, lacking)
    events: list[Event] = []
    look = request(tmp_path, {"do": "look"})
    runtime.run_python(PYTHON, toolchain(tmp_path), look, events.append)
    assert [type(event) for event in events] == [StepStarted, StepFinished]

    waiting = request(tmp_path, {"do": "wait"})
    pids = tmp_path / "work" / "pids"
    with in_background(signal_self_when(pids, signal.SIGINT)), pytest.raises(Interrupted):
        runtime.run_python(PYTHON, toolchain(tmp_path), waiting, ignore)
    assert_all_gone(pids_in(tmp_path / "work"))


def test_killed_from_outside(runtime: VenvRuntime, tmp_path: Path) -> None:
    def kill() -> None:
        wait_for(tmp_path / "work" / "pids")
        psutil.Process(pids_in(tmp_path / "work")[0]).kill()

    with in_background(kill), pytest.raises(PassFailed, match="killed from outside") as caught:
        runtime.run_python(PYTHON, toolchain(tmp_path), request(tmp_path, {"do": "wait"}), ignore)

    assert time.time() - (tmp_path / "work" / "pids").stat().st_mtime < 10
    assert "last finished step" in caught.value.hint
    assert_all_gone(pids_in(tmp_path / "work"))


def test_an_endless_step_ends_and_is_named(runtime: VenvRuntime, tmp_path: Path) -> None:
    wanted = request(tmp_path, {"do": "wait"}, resources=ProcessLimits(step_seconds=3))

    with pytest.raises(PassFailed, match="s was stopped: it took longer than 3") as caught:
        runtime.run_python(PYTHON, toolchain(tmp_path), wanted, ignore)

    assert "resources.step_hours" in caught.value.hint
    assert_all_gone(pids_in(tmp_path / "work"))


def test_killed_driver_takes_its_process_along(tmp_path: Path) -> None:
    script = f"""
from pathlib import Path
import sys
from targets.runtimes.venv import VenvRuntime
from tests.support.runtime_support import STANDIN, request, toolchain
tmp = Path({str(tmp_path)!r})
VenvRuntime(tmp / "cache", STANDIN).run_python(
    Path(sys.executable), toolchain(tmp), request(tmp, {{"do": "wait"}}), print)
"""
    driver = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[2])
    wait_for(tmp_path / "work" / "pids")
    driver.kill()
    driver.wait()

    assert_all_gone(pids_in(tmp_path / "work"))


def test_silent_exit_shows_the_last_words(runtime: VenvRuntime, tmp_path: Path) -> None:
    wanted = request(tmp_path, {"do": "leave", "code": 3})

    with pytest.raises(PassFailed, match="exit code 3") as caught:
        runtime.run_python(PYTHON, toolchain(tmp_path), wanted, ignore)

    assert "the last words" in caught.value.hint


@pytest.mark.parametrize(("do", "name"), CRASHES)
def test_crash_names_the_signal(do: str, name: str, runtime: VenvRuntime, tmp_path: Path) -> None:
    with pytest.raises(PassFailed, match=f"s broke: ended by {name} "):
        runtime.run_python(PYTHON, toolchain(tmp_path), request(tmp_path, {"do": do}), ignore)
