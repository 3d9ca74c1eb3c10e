"""The whole chain on the small model: Quern in containers beside Olive."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.run.registry import check_types, load_check
from targets.cli.options import PROJECT
from targets.errors import QuernError
from tests.benchmarks.driver import without_results
from tests.benchmarks.pages import Row, Section
from tests.benchmarks.scale import measured
from tests.benchmarks.scale.environments import ensure_environment, olive
from tests.benchmarks.scale.measured import Cost
from tests.benchmarks.scale.merge import peak_row, time_row
from tests.benchmarks.scale.world import OFFLINE, World, report_in

SHARE = 0.6
CACHED_SECONDS = 1.0
FILE = Path(__file__).parent / "olive" / "chain.json"

_HOW = """\
`tests/benchmarks/scale/olive/chain.json` (LoRA, 10 steps; merge; int4) on the base of
`configs/tone.toml`, first with nothing cached, then again. Quern builds from the very same file, in
a container, the image being there; everything offline. Olive is olive-ai 0.13.0 with
onnxruntime-genai 0.14.1 in an environment of its own (`tests/benchmarks/scale/olive/`), bytecode
compiled. Offline, its telemetry keeps it waiting at the end; so it is also run with telemetry off.
Quern also checks what it built, which Olive does not; so it is also run with `skip_checks`."""


def measure(world: World) -> Section:
    """Measure both programs in turn."""
    return Section("chain", "The whole chain on the small model", _rows(world), _HOW)


def _rows(world: World) -> Iterator[Row]:
    with world.folder() as folder:
        yield from _rows_in(world, folder)


def _rows_in(world: World, folder: Path) -> Iterator[Row]:
    place = _inputs(world, folder / "olive")
    olive_cold, olive_again = _olive(world, place), _olive(world, place)
    place = _inputs(world, folder / "olive-quiet")
    quiet = {"OLIVE_DISABLE_TELEMETRY": "1"}
    quiet_cold, quiet_again = _olive(world, place, quiet), _olive(world, place, quiet)
    place = _inputs(world, folder / "quern")
    with without_results(world.cache, folder) as cache:
        cold = world.build(place / FILE.name, cache, place / "dist")
        report = report_in(place / "dist") if cold.worked else {"passes": []}
        again = world.build(place / FILE.name, cache, place / "dist")
    with without_results(world.cache, folder) as cache:
        bare = world.build(_without_checks(world, place), cache, place / "dist-bare")
    yield time_row("Olive, cold", olive_cold)
    yield time_row("Olive, cached", olive_again)
    yield time_row("Olive without telemetry, cold", quiet_cold)
    yield time_row("Olive without telemetry, cached", quiet_again)
    yield peak_row("Olive, cold", olive_cold)
    yield time_row("Quern, cold", cold)
    if cold.worked:
        peak = max(step["peak_rss_bytes"] for step in report["passes"])
        yield peak_row("Quern, cold", Cost(cold.seconds, peak))
    yield time_row("Quern without checks, cold", bare)
    for what, own in (("Quern", cold), ("Quern without checks", bare)):
        for rival, other in (("Olive", olive_cold), ("Olive without telemetry", quiet_cold)):
            if own.worked and other.worked:
                yield _share(f"{what} / {rival}, cold", own.seconds / other.seconds)
    for step in report["passes"]:
        yield Row(f"Quern's step `{step['name']}`", f"{step['seconds']:.2f} s")
    yield time_row("Quern, cached", again, CACHED_SECONDS)


def _share(what: str, share: float) -> Row:
    return Row(what, f"{share:.2f}", f"<= {SHARE:g}", share <= SHARE)


def _without_checks(world: World, folder: Path) -> Path:
    """Return the same config as TOML, with every check skipped."""
    path = folder / "bare.toml"
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
