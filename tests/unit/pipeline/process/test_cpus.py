"""How many CPUs a process may use, by the files of the kernel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.process.cpus import usable_cpus

MOST = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("written", "usable"),
    [("max 100000", MOST), ("100000 100000", 1), ("50000 100000", 1), ("9900000 100000", MOST)],
)
def test_the_limit_of_a_container_counts(tmp_path: Path, written: str, usable: int) -> None:
    (tmp_path / "cpu.max").write_text(f"{written}\n")
    assert usable_cpus(tmp_path) == usable


def test_without_a_limit_it_is_the_affinity(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path) == MOST
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert usable_cpus(tmp_path) == MOST
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("100000\n")
    assert usable_cpus(tmp_path) == 1
