"""Environments of what Quern is measured against: hash-locked, apart from every toolchain.

``python -m tests.benchmarks.scale.environments`` locks their newest packages.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from targets.toolchain.lock import lock
from targets.toolchain.platforms import this_machine
from targets.toolchain.toolchain import Toolchain
from targets.toolchain.uv import uv
from targets.toolchain.wheelhouse import Wheelhouse

PYTHON = "3.11"
_HERE = Path(__file__).parent
_MODULE = "python -m tests.benchmarks.scale.environments"


def olive() -> Toolchain:
    """Return Microsoft Olive and what it needs, as its users install it."""
    return Toolchain("olive", this_machine(), PYTHON, _HERE / "olive", {})


def ensure_environment(toolchain: Toolchain, cache: Path, say: Callable[[str], None]) -> Path:
    """Return the folder of an environment with the lock of ``toolchain``, making it if need be.

    It appears only when complete. Raises ``EnvironmentUnable``.
    """
    folder = cache / "rivals" / f"{toolchain.target}-{toolchain.digest[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if folder.exists():
            return folder
        Wheelhouse(cache / "wheels").ensure(toolchain, say)
        say(f"installing {toolchain.target} into {folder}")
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        uv("venv", "--quiet", "--relocatable", "--python", PYTHON, str(partial))
        uv(
            *("pip", "install", "--quiet", "--python", str(partial / "bin" / "python")),
            *("--offline", "--no-index", "--find-links", str(cache / "wheels"), "--no-deps"),
            *("--require-hashes", "--requirement", str(toolchain.lock), "--compile-bytecode"),
        )
        partial.replace(folder)
    return folder


if __name__ == "__main__":
    for change in lock(olive(), upgrade=True, command=_MODULE):
        sys.stdout.write(f"{change}\n")
