"""Plants faults of the catalogue into copies of what a step made."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.attack import artifact_faults
from tests.support import plans


def plant(python: Path, work: Path, made: str, *faults: str) -> None:
    """Copy the step ``made`` in ``work`` under the name of each fault, and plant that into it."""
    for fault in faults:
        shutil.copytree(work / made, work / fault)
    subprocess.run(
        [str(python), str(artifact_faults.__file__), str(work), *faults],
        env={**os.environ, "PYTHONPATH": str(plans.ROOT)},
        check=True,
    )
