"""Runs what makes a model, and keeps what was made for the next run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.contract.sha256 import sha256_of_bytes
from targets.atomic import replace_folder, sibling_folder
from targets.cli.options import PROJECT
from targets.errors import QuernError
from tests.benchmarks.scale import measured
from tests.benchmarks.scale.world import OFFLINE, World

_PROGRAMS = "tests.benchmarks.peers.programs"


def kept(world: World, name: str, decided_by: str, make: Callable[[Path], None]) -> Path:
    """Return the folder that ``make`` fills, of an earlier run if ``decided_by`` is the same."""
    folder = world.cache / "rivals" / f"{name}-{sha256_of_bytes(decided_by.encode())[:12]}"
    if not folder.exists():
        with sibling_folder(folder) as fresh:
            make(fresh)
            replace_folder(fresh, folder)
    return folder


def run(
    world: World,
    python: Path,
    program: str,
    *arguments: str | Path,
    variables: Mapping[str, str] | None = None,
) -> str:
    """Run a program of this package; return its output. Raises ``QuernError``."""
    output, _ = run_measured(world, [python, "-m", f"{_PROGRAMS}.{program}", *arguments], variables)
    return output


def run_measured(
    world: World, command: list[str | Path], variables: Mapping[str, str] | None = None
) -> tuple[str, measured.Cost]:
    """Run ``command``, offline and with the project's modules, at this machine's full speed; return
    its output and what it took. Raises ``QuernError``."""
    environment = {**os.environ, **OFFLINE, "PYTHONPATH": str(PROJECT), **(variables or {})}
    cost = measured.run(command, environment, world.log, world.scratch)
    output = world.log.read_text("utf-8", errors="replace")
    if not cost.worked:
        raise QuernError(f"{' '.join(map(str, command[2:4]))}: {cost.ending}", log=world.log)
    return output, cost


def last_line(output: str) -> str:
    """Return the line of JSON that a program printed; libraries may print before and after it."""
    return next(line for line in reversed(output.splitlines()) if line.startswith(("{", "[")))
