"""The benchmark of the driver removes images only where that was said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from targets.cli.options import PROJECT


def test_cold_asks_before_it_removes_images(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    docker = tmp_path / "docker"
    docker.write_text(
        f'#!/bin/sh\necho "$1" >> "{calls}"\n[ "$1" = images ] && echo id1 && echo id2\n'
    )
    docker.chmod(0o755)
    ran = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.driver", "--cold"],
        cwd=PROJECT,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2, ran.stderr
    assert "removes all 2 images quern/* of this engine" in ran.stderr
    assert "--yes" in ran.stderr
    assert calls.read_text().split() == ["images"]
