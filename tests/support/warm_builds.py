"""Builds in this process, whose steps run in processes that have the libraries already."""

from __future__ import annotations

from pathlib import Path

from pipeline.contract.events import Event
from targets.build import Builder
from targets.cache import Cache
from targets.cli.running import Built, failure_of
from targets.config.load import load_config
from targets.place import place_of
from targets.planner.build_plan import BuildPlan
from targets.target import load_target
from targets.toolchain.platforms import this_machine
from tests.support.warm_runtime import WarmRuntime


class SilentView:
    """A view that shows nothing."""

    def planned(self, plan: BuildPlan) -> None:
        """Pass over it."""

    def say(self, message: str) -> None:
        """Pass over it."""

    def event(self, event: Event) -> None:
        """Pass over it."""


def warm_build(config: Path, dist: Path, cache: Path, runtime: WarmRuntime) -> int:
    """Build ``config`` for the cpu target; return the code with which ``build`` would end.

    Raises what the command would show.
    """
    target = load_target("cpu")
    place = place_of(target, this_machine())
    loaded = load_config(config, [target])
    builder = Builder(loaded, Cache(cache), place, place, lambda _: runtime, SilentView())
    failure = failure_of([Built(place, builder.build(dist), seconds=0)])
    return failure.exit_code if failure else 0
