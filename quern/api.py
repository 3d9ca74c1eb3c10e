"""Quern as a library: what the commands `plan` and `build` do, as functions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from targets.cache import Cache
from targets.cli.options import (
    CACHE_VARIABLE,
    BuildChoices,
    load_requests,
    open_cache,
)
from targets.cli.remotes import elsewhere_of, shared_cache
from targets.cli.running import build_all, failure_of, runtime_starter
from targets.console.plain_view import PlainView
from targets.console.safe_console import SafeConsole
from targets.errors import (
    CheckFailed,
    ConfigError,
    EnvironmentUnable,
    Interrupted,
    PassFailed,
    Problem,
    QuernError,
)
from targets.planner.build_plan import BuildPlan
from targets.planner.planner import Planner
from targets.report.report_schema import Report
from targets.runtimes.platform import Choice

__all__ = [
    "BuildPlan",
    "CheckFailed",
    "ChecksFailed",
    "ConfigError",
    "EnvironmentUnable",
    "Interrupted",
    "PassFailed",
    "Problem",
    "QuernError",
    "Report",
    "build",
    "plan",
]

PathLike: TypeAlias = "str | os.PathLike[str]"


class ChecksFailed(CheckFailed):
    """Artifacts were built, and checks of some of them failed: `reports` says which."""

    def __init__(self, failure: CheckFailed, reports: list[Report]) -> None:
        super().__init__(str(failure), failure.hint)
        self.reports = reports
        """The reports of all builds, in their order."""


def plan(
    config: PathLike,
    targets: Iterable[str] = (),
    *,
    data: Mapping[str, PathLike] | None = None,
    model: str | None = None,
    host: str | None = None,
    runtime: Choice | None = None,
    cache: PathLike | None = None,
) -> list[BuildPlan]:
    """Return what :func:`build` with the same arguments would do: the steps of each target, cached
    or with the reason why they must run. Runs none of them.

    Raises ``ConfigError`` with every mistake of the config, and ``EnvironmentUnable`` where
    this machine cannot build a target.
    """
    store = _cache(cache)
    requests = load_requests(_choices(config, targets, data, model, host, runtime), cache=store)
    return [
        Planner(request.loaded, store, place, request.training_place, shared=shared).plan()
        for request in requests
        for shared in [shared_cache(request, store, _ignore)]
        for place in request.places
    ]


def build(
    config: PathLike,
    targets: Iterable[str] = (),
    *,
    data: Mapping[str, PathLike] | None = None,
    model: str | None = None,
    host: str | None = None,
    runtime: Choice | None = None,
    cache: PathLike | None = None,
    dist: PathLike = "dist",
    quiet: bool = False,
) -> list[Report]:
    """Build and check the artifacts of ``config``, and return a report for each, in the order of
    ``targets`` (default: the config's, else ``cpu``).

    ``data`` are files in place of the config's, by the names of its data sets; ``model`` is a base
    model in place of the config's; ``host`` the target that trains; ``cache`` the folder of results
    (default: ``QUERN_CACHE``, else the user's cache folder); ``runtime`` ``"docker"``,
    ``"venv"`` or ``"auto"``. Artifacts and reports are written to ``dist``, as the command does;
    without ``quiet``, a line for each step is printed.

    Raises ``ConfigError``, ``ChecksFailed``, ``EnvironmentUnable``, ``PassFailed`` or
    ``Interrupted``, which all are a ``QuernError``.
    """
    store = _cache(cache)
    requests = load_requests(_choices(config, targets, data, model, host, runtime), cache=store)
    view = PlainView(SafeConsole(quiet=quiet, soft_wrap=False, emoji=False))
    built = [
        one
        for request in requests
        for start in [
            runtime_starter(request.runtime, store.root, view, elsewhere_of(request, store.root))
        ]
        for one in build_all(request, store, Path(dist).absolute(), start, view)
    ]
    reports = [one.outcome.report for one in built]
    failure = failure_of(built)
    if failure is not None:
        raise ChecksFailed(failure, reports)
    return reports


def _choices(
    config: PathLike,
    targets: Iterable[str],
    data: Mapping[str, PathLike] | None,
    model: str | None,
    host: str | None,
    runtime: Choice | None,
) -> BuildChoices:
    names = (targets,) if isinstance(targets, str) else tuple(targets)
    files = {name: Path(file) for name, file in (data or {}).items()}
    return BuildChoices(Path(config), names, host, files, model, runtime)


def _cache(folder: PathLike | None) -> Cache:
    chosen = folder or os.environ.get(CACHE_VARIABLE)
    return open_cache(Path(chosen) if chosen else None)


def _ignore(_line: str) -> None:
    """Show nothing: a plan is what is returned."""
