"""What the tests of families share: their checkpoints, and warm processes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.families.table import Family
from tests.integration.conftest import cache_dir, toolchain_python, warm_runtime
from tests.support.plans import ROOT
from tests.support.warm_runtime import WarmRuntime

__all__ = ["cache_dir", "toolchain_python", "warm_runtime"]


@pytest.fixture(scope="session")
def runtime(warm_runtime: WarmRuntime) -> WarmRuntime:
    """Return the runtime of all builds, each of which makes the toolchain that it needs ready."""
    return warm_runtime


@pytest.fixture(scope="session")
def families(
    request: pytest.FixtureRequest, toolchain_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a folder with the checkpoints of the families that are tested in this run."""
    folder = tmp_path_factory.mktemp("families")
    calls = (getattr(item, "callspec", None) for item in request.session.items)
    asked = (call.params.get("family") for call in calls if call is not None)
    names = dict.fromkeys(family.name for family in asked if isinstance(family, Family))
    made = subprocess.run(
        [str(toolchain_python), "-m", "tests.families.make", str(folder / "checkpoints"), *names],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr[-3000:]
    return folder
