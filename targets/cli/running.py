"""What commands that run something share: the view, the runtime, and the builds of a request."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache as once
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from targets.build import Builder, BuildOutcome, View
from targets.cache import Cache
from targets.cli.options import Request
from targets.errors import CheckFailed
from targets.place import Place
from targets.runtimes.runtime import Runtime

if TYPE_CHECKING:
    from targets.runtimes.platform import Choice


@dataclass(frozen=True)
class Built:
    """One finished build of a request, and how long it took."""

    place: Place
    outcome: BuildOutcome
    seconds: float


def build_all(
    request: Request, store: Cache, dist: Path, start: Callable[[], Runtime], view: View
) -> Iterator[Built]:
    """Build the request for each of its targets, in turn."""
    for place in request.places:
        started = time.monotonic()
        builder = Builder(request.loaded, store, place, request.host, start, view)
        outcome = builder.build(dist)
        yield Built(place, outcome, time.monotonic() - started)


def failure_of(built: list[Built]) -> CheckFailed | None:
    """Return the failure that names every target of which a check failed; ``None`` for none."""
    failed = [one.outcome.report.target for one in built if one.outcome.report.status == "failed"]
    if not failed:
        return None
    return CheckFailed(
        f"a check failed for {', '.join(failed)}", "the report beside the artifact says which"
    )


def runtime_once(requested: Choice, cache_root: Path, view: View) -> Callable[[], Runtime]:
    """Return a function that chooses the runtime at its first call and keeps it."""

    @once
    def start() -> Runtime:
        # Imported late: an all-cached build needs no engine and should not pay for its client.
        from targets.runtimes.select import choose

        return choose(requested, cache_root, view.say)

    return start


def show_view(console: Console) -> AbstractContextManager[View]:
    """Return the view for ``console``: live on a terminal, else plain lines."""
    if console.is_terminal and not os.environ.get("CI"):
        from targets.console.live import LiveView

        return LiveView(console)
    from targets.console.plain import PlainView

    return nullcontext(PlainView(console))
