"""The whole chain on the small model: Quern in containers beside Olive."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from pipeline.run.registry import check_types, load_check
from targets.cli.options import PROJECT
from targets.errors import QuernError
from tests.benchmarks.driver import link_toolchains
from tests.benchmarks.pages import Row, Section
from tests.benchmarks.scale import measured
from tests.benchmarks.scale.environments import ensure_environment, olive
from tests.benchmarks.scale.measured import Cost
from tests.benchmarks.scale.merge import peak_row, time_row
from tests.benchmarks.scale.world import OFFLINE, World, report_in

ROUNDS = 3
SHARE = 0.6
"""Of Olive's time, where Quern checks as little as Olive does."""
SHARE_WITH_CHECKS = 1.0
CACHED_SECONDS = 1.0
FILE = Path(__file__).parent / "olive" / "chain.json"

_HOW = f"""\
`tests/benchmarks/scale/olive/chain.json` (LoRA, 10 steps; merge; int4) on the base of
`configs/tone.toml`, first with nothing cached, then again. Quern builds from the very same file, in
a container, the image being there; everything offline. Olive is olive-ai 0.13.0 with
onnxruntime-genai 0.14.1 in an environment of its own (`tests/benchmarks/scale/olive/`), bytecode
compiled. Offline, its telemetry keeps it waiting at the end; so it is also run with telemetry off.
Quern also checks what it built, which Olive does not; so it is also run with `skip_checks`. All
four take turns, {ROUNDS} times each; medians, in brackets the least and the most."""
_QUIET = {"OLIVE_DISABLE_TELEMETRY": "1"}


def measure(world: World) -> Section:
    """Measure both programs in turn."""
    return Section("chain", "The whole chain on the small model", _rows(world), _HOW)


def _rows(world: World) -> Iterator[Row]:
    ensure_environment(olive(), world.cache, world.say)
    programs: Mapping[str, Callable[[Path], Cost]] = {
        "Olive": lambda folder: _olive(world, folder),
        "Olive without telemetry": lambda folder: _olive(world, folder, _QUIET),
        "Quern": lambda folder: _quern(world, folder, folder / FILE.name),
        "Quern without checks": lambda folder: _quern(world, folder, _bare(world, folder)),
    }
    cold: dict[str, list[Cost]] = {name: [] for name in programs}
    again: dict[str, list[Cost]] = {name: [] for name in programs}
    report: Mapping[str, Any] = {"passes": []}
    for _ in range(ROUNDS):
        for name, run in programs.items():
            with world.folder() as scratch:
                folder = _inputs(world, scratch / "chain")
                cold[name].append(run(folder))
                again[name].append(run(folder))
                if name == "Quern" and cold[name][-1].worked:
                    report = report_in(folder / "dist")
    for name in programs:
        yield _times(f"{name}, cold", cold[name])
        limit = CACHED_SECONDS if name.startswith("Quern") else None
        yield _times(f"{name}, cached", again[name], limit)
    yield peak_row("Olive, cold", cold["Olive"][0])
    if report["passes"]:
        peak = max(step["peak_rss_bytes"] for step in report["passes"])
        yield peak_row("Quern, cold", Cost(0, peak))
    for own, aim in (("Quern", SHARE_WITH_CHECKS), ("Quern without checks", SHARE)):
        for rival in ("Olive", "Olive without telemetry"):
            pairs = zip(cold[own], cold[rival], strict=True)
            shares = [one.seconds / other.seconds for one, other in pairs]
            if _failure(cold[own]) or _failure(cold[rival]):
                continue
            figure, share = _spread(shares, ".2f"), median(shares)
            yield Row(f"{own} / {rival}, cold", figure, f"<= {aim:g}", share <= aim)
    for step in report["passes"]:
        yield Row(f"Quern's step `{step['name']}`", f"{step['seconds']:.2f} s")


def _times(what: str, costs: Sequence[Cost], limit: float | None = None) -> Row:
    """Return the wall times of a process, or why there are none."""
    failure = _failure(costs)
    if failure is not None:
        return time_row(what, failure, limit)
    seconds = [cost.seconds for cost in costs]
    figure = f"{_spread(seconds, '.1f')} s"
    if limit is None:
        return Row(f"{what}: time", figure)
    return Row(f"{what}: time", figure, f"<= {limit:g} s", median(seconds) <= limit)


def _failure(costs: Sequence[Cost]) -> Cost | None:
    return next((cost for cost in costs if not cost.worked), None)


def _spread(values: Sequence[float], form: str) -> str:
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def _quern(world: World, folder: Path, config: Path) -> Cost:
    """Build ``config`` in ``folder``, with results that are cached there and nowhere else."""
    cache = folder / "cache"
    if not cache.exists():
        link_toolchains(world.cache, cache)
    return world.build(config, cache, folder / "dist")


def _bare(world: World, folder: Path) -> Path:
    """Return the same config as TOML, with every check skipped."""
    path = folder / "bare.toml"
    if path.exists():
        return path
    command: list[str | Path] = [sys.executable, "-m", "targets", "convert", folder / FILE.name]
    command += ["--output", path]
    cost = measured.run(command, os.environ, world.log, PROJECT)
    if not cost.worked:
        raise QuernError(f"{FILE.name} cannot be converted: {cost.ending}")
    checks = [name for name in check_types() if load_check(name).runs_by_default]
    rest, _, _ = path.read_text("utf-8").partition("[checks.")
    path.write_text(f"skip_checks = {json.dumps(checks)}\n{rest}", "utf-8")
    return path


def _inputs(world: World, folder: Path) -> Path:
    """Return ``folder``, made with the file and what it names."""
    shutil.copytree(world.small, folder / "model")
    shutil.copyfile(FILE, folder / FILE.name)
    shutil.copyfile(PROJECT / "configs" / "tone.jsonl", folder / "tone.jsonl")
    return folder


def _olive(world: World, folder: Path, quiet: Mapping[str, str] | None = None) -> Cost:
    """Run Olive in ``folder``, with what it caches there."""
    environment = {**os.environ, **OFFLINE, "HF_HOME": str(folder / "hub"), **(quiet or {})}
    python = ensure_environment(olive(), world.cache, world.say) / "bin" / "python"
    command: list[str | Path] = [python, "-m", "olive", "run", "--config", FILE.name]
    return measured.run(command, environment, world.log, folder)
