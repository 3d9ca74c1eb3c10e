"""Plans of the small project, as the host makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pipeline.contract.plan import OUTPUT_DIR, object_path
from pipeline.contract.result import RESULT_FILE, StepResult
from targets.cache import Cache
from targets.config.load import Overrides, load_config
from targets.devices.device import Device
from targets.place import Place
from targets.planner.build_plan import BuildPlan
from targets.planner.planner import Planner
from targets.runtimes.runtime import RuntimeName
from targets.target import load_target
from tests.support.project import Project


def make_planner(
    project: Project,
    cache: Cache,
    overrides: Overrides | None = None,
    lock: Path | None = None,
    absence: str = "",
    config: Path | None = None,
    only: RuntimeName | None = None,
    gpu: str = "",
) -> Planner:
    target = load_target("cpu")
    toolchain = target.toolchain("linux/amd64")
    if lock is not None:
        toolchain = replace(toolchain, image_dir=lock)
    loaded = load_config(config or project.config, [target], overrides)
    place = Place(toolchain, Device("cpu", absence, model=gpu))
    return Planner(loaded, cache, place, place, only)


def build(project: Project, cache: Cache, runtimes: Mapping[str, str] | None = None) -> BuildPlan:
    """Plan, and put an empty result into the cache for every step, as a build would."""
    planner = make_planner(project, cache)
    plan = planner.plan()
    for planned in plan.steps:
        folder = cache.objects / object_path(planned.step.key)
        if not folder.exists():
            (folder / OUTPUT_DIR).mkdir(parents=True)
            result = StepResult(
                name=planned.step.name,
                type=planned.step.type,
                key=planned.step.key,
                seconds=1,
                peak_rss_bytes=1,
                origin={"runtime": (runtimes or {}).get(planned.step.name, "docker")},
            )
            (folder / RESULT_FILE).write_text(result.model_dump_json())
    planner.remember()
    return plan


def to_run(plan: BuildPlan) -> dict[str, str]:
    return {planned.step.name: planned.reason for planned in plan.missing}


def replan(project: Project, cache: Cache) -> dict[str, str]:
    return to_run(make_planner(project, cache).plan())
