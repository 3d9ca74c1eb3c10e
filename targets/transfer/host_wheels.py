"""The wheels of Quern's own packages for this machine's Python, which ``./nox`` needs."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from filelock import FileLock

from pipeline.contract.sha256 import sha256_of_bytes, sha256_of_file
from targets.atomic import sibling_folder
from targets.errors import EnvironmentUnable
from targets.toolchain.host_lock import HOST_LOCKS
from targets.toolchain.platforms import this_machine
from targets.toolchain.run_tool import ToolFailed, run_tool
from targets.transfer.progress import Say

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The Python version of these wheels."""

_PROJECT = Path(__file__).parents[2]
_LEFT_OUT = {"requirements-dev.lock", "requirements-azure.lock"}
"""What work on Quern needs, and what a cloud needs, which no machine without a network reaches."""
_LOCKS = [_PROJECT / lock.file for lock in HOST_LOCKS if lock.file not in _LEFT_OUT]
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})\b")


def host_locks() -> dict[str, str]:
    """Return SHA-256 of each lock whose wheels are exported, by file name."""
    return {lock.name: sha256_of_file(lock) for lock in _LOCKS}


def host_pins() -> frozenset[str]:
    """Return SHA-256 of every file in those locks, for any Python and system."""
    return frozenset(
        digest for lock in _LOCKS for digest in _HASH.findall(lock.read_text(encoding="utf-8"))
    )


def host_wheels(cache: Path, say: Say) -> list[Path]:
    """Return the wheels, fetching missing ones with pip into ``cache``.

    Raises ``EnvironmentUnable`` if pip cannot fetch them.
    """
    facts = [host_locks(), PYTHON, this_machine()]
    name = sha256_of_bytes(json.dumps(facts, sort_keys=True).encode())[:12]
    folder = cache / "host" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            say(f"fetching Quern's own packages for Python {PYTHON}")
            with sibling_folder(folder) as fresh:
                _download(fresh)
                fresh.rename(folder)
    return sorted(folder.glob("*.whl"))


def _download(folder: Path) -> None:
    """Fetch each lock by itself: two of them may pin one package at different versions."""
    try:
        for lock in _LOCKS:
            run_tool(
                [
                    *(sys.executable, "-m", "pip", "download", "--quiet", "--no-input"),
                    *("--progress-bar", "off", "--disable-pip-version-check"),
                    *("--require-hashes", "--no-deps", "--only-binary", ":all:"),
                    *("--dest", str(folder), "--requirement", str(lock)),
                ],
                tool="pip",
            )
    except ToolFailed as error:
        raise EnvironmentUnable(
            f"cannot fetch Quern's own packages\npip: {error.last_line()}",
            "check the network and pip's index, proxy and certificate settings (`pip config list`)",
        ) from error
