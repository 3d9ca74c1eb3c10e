"""How much of the CPUs other work takes, as the kernel counts it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.contract.result import PROVISIONAL
from pipeline.process import load
from pipeline.process.load import LoadWatch, busy_note, provisional
from tests.support.silent import Silent

TICKS = os.sysconf("SC_CLK_TCK")


def cpus() -> list[int]:
    """Return the CPUs of this process: tests that run side by side share the machine's."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]


def counted(path: Path, seconds: float, steal: float = 0) -> Path:
    """Write what each of this process's CPUs has worked, and a CPU that it may not use."""
    used = f"{round(seconds * TICKS)} 0 0 9999 7 0 0 {round(steal * TICKS)} 0 0"
    rows = [f"cpu{number} {used}" for number in cpus()]
    rows.append("cpu4095 99999999 0 0 0 0 0 0 0 0 0")
    path.write_text("\n".join(["cpu 1 2 3 4 5 6 7 8 9 10", *rows, "intr 5", ""]), "ascii")
    return path


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """A clock that a test sets, and the time that this process has used."""
    now = {"time": 100.0, "own": 3.0}
    monkeypatch.setattr("time.monotonic", lambda: now["time"])
    monkeypatch.setattr(load, "_own_seconds", lambda: now["own"])
    return now


def test_what_others_use_is_what_was_used_less_ones_own(
    tmp_path: Path, clock: dict[str, float]
) -> None:
    watch = LoadWatch(counted(tmp_path / "stat", 50))
    clock["time"] += 10
    clock["own"] += 2 * len(cpus())
    counted(tmp_path / "stat", 56)  # six seconds of ten on each, of which two are one's own
    assert watch.share_of_others() == pytest.approx(0.4)


def test_what_a_hypervisor_takes_counts(tmp_path: Path, clock: dict[str, float]) -> None:
    watch = LoadWatch(counted(tmp_path / "stat", 50))
    clock["time"] += 10
    counted(tmp_path / "stat", 50, steal=2.5)
    assert watch.share_of_others() == pytest.approx(0.25)


def test_ones_own_work_is_no_load(tmp_path: Path, clock: dict[str, float]) -> None:
    watch = LoadWatch(counted(tmp_path / "stat", 50))
    clock["time"] += 10
    clock["own"] += 10 * len(cpus())
    counted(tmp_path / "stat", 60)
    assert watch.share_of_others() == 0


def test_where_nothing_is_counted_nothing_is_said(tmp_path: Path) -> None:
    assert LoadWatch(tmp_path / "none").share_of_others() is None
    assert not busy_note(None)
    assert not busy_note(0.05)


def test_a_busy_machine_is_said_and_its_result_is_not_for_others() -> None:
    report = Silent()
    busy = busy_note(0.37)
    assert busy == "other work took 37% of the CPUs meanwhile"
    assert provisional(busy, report) == {PROVISIONAL: busy}
    assert "measures anew" in report.warnings[0]
    assert provisional("", report) == {}
    assert len(report.warnings) == 1


@pytest.mark.skipif(not Path("/proc/stat").is_file(), reason="a kernel that counts elsewhere")
def test_this_machine_says_a_share() -> None:
    watch = LoadWatch()
    sum(range(2_000_000))
    share = watch.share_of_others()
    assert share is None or 0 <= share <= 1
