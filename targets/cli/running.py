"""Functions shared by commands that run steps: the view, the runtime, the builds of a request."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from targets.build import Builder, BuildOutcome
from targets.cache import Cache
from targets.cli.options import Request
from targets.cli.remotes import left_outputs, shared_cache
from targets.errors import CheckFailed, Interrupted
from targets.place import Place
from targets.runtimes.platform import Choice
from targets.runtimes.runtime import Runtime, StartRuntime
from targets.systems.find import Elsewhere
from targets.systems.select import HERE, Chooser
from targets.toolchain.registry.settings import RegistrySettings
from targets.toolchain.toolchain import Toolchain
from targets.view import View

if TYPE_CHECKING:
    from targets.remote.shared_cache import SharedCache


@dataclass(frozen=True)
class Built:
    """One finished build of a request, and how long it took."""

    place: Place
    outcome: BuildOutcome
    seconds: float


def build_all(
    request: Request,
    store: Cache,
    dist: Path,
    start: StartRuntime,
    view: View,
    elsewhere: Elsewhere | None = None,
) -> Iterator[Built]:
    """Build the request for each of its targets, in turn: on this machine, or ``elsewhere``."""
    left = left_outputs(store, elsewhere)
    with _finishing(shared_cache(request, store, view.say)) as shared:
        for place in request.places:
            started = time.monotonic()
            builder = Builder(
                *(request.loaded, store, place, request.training_place, start, view),
                shared=shared,
                left=left,
            )
            outcome = builder.build(dist)
            yield Built(place, outcome, time.monotonic() - started)


@contextmanager
def _finishing(shared: SharedCache | None) -> Iterator[SharedCache | None]:
    """Let what is on its way to ``shared`` arrive when the block ends, unless the user stops it."""
    try:
        yield shared
    except Exception as error:
        if shared is not None and not isinstance(error, Interrupted):
            shared.finish()
        raise
    if shared is not None:
        shared.finish()


def failure_of(built: list[Built]) -> CheckFailed | None:
    """Return an error that names every target with a failed check; ``None`` if there is none."""
    failed = [one.outcome.report.target for one in built if one.outcome.report.status == "failed"]
    if not failed:
        return None
    return CheckFailed(
        f"a check failed for {', '.join(failed)}", "the report beside the artifact says which"
    )


def runtime_starter(
    requested: Choice,
    cache_root: Path,
    view: View,
    elsewhere: Elsewhere | None = None,
    registry: RegistrySettings | None = None,
    stays: str = HERE,
) -> StartRuntime:
    """Return a function that starts the runtime, on this machine unless there is ``elsewhere``, and
    reports if it is a virtual environment.

    ``registry`` may have images that are not on this machine. ``stays`` is as for ``Chooser``.
    """
    chooser = Chooser(requested, cache_root, elsewhere, registry, stays)

    def start(toolchains: Sequence[Toolchain]) -> Runtime:
        return chooser.start(toolchains, view.say)

    return start


def show_view(console: Console) -> AbstractContextManager[View]:
    """Return the view for ``console``: live on a terminal that can, else plain lines."""
    if console.is_terminal and not console.options.ascii_only and not os.environ.get("CI"):
        from targets.console.live_view import LiveView

        return LiveView(console)
    from targets.console.plain_view import PlainView

    return nullcontext(PlainView(console))
