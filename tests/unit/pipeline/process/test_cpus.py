"""How many CPUs a process may use, by the files of the kernel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.process.cpus import usable_cpus


@pytest.fixture
def most() -> int:
    """Return how many CPUs this process may use: tests that run side by side share them."""
    return len(os.sched_getaffinity(0))


@pytest.mark.parametrize("written", ["100000 100000", "50000 100000"])
def test_the_limit_of_a_container_counts(tmp_path: Path, written: str) -> None:
    (tmp_path / "cpu.max").write_text(f"{written}\n")
    assert usable_cpus(tmp_path) == 1


@pytest.mark.parametrize("written", ["max 100000", "9900000 100000"])
def test_a_limit_beyond_the_machine_is_none(tmp_path: Path, written: str, most: int) -> None:
    (tmp_path / "cpu.max").write_text(f"{written}\n")
    assert usable_cpus(tmp_path) == most


def test_without_a_limit_it_is_the_affinity(tmp_path: Path, most: int) -> None:
    assert usable_cpus(tmp_path) == most
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert usable_cpus(tmp_path) == most
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("100000\n")
    assert usable_cpus(tmp_path) == 1
