"""What a request uses beyond this machine: a shared cache, a system. Where it has none, nothing of
them is imported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from targets.cache import Cache
from targets.cli.options import Request
from targets.systems.left_outputs import LeftOutputs

if TYPE_CHECKING:
    from targets.remote.shared_cache import SharedCache
    from targets.systems.find import Elsewhere


def shared_cache(request: Request, store: Cache, say: Callable[[str], None]) -> SharedCache | None:
    """Return the cache that the config of ``request`` shares with others, if it does."""
    loaded = request.loaded
    table = loaded.config.cache
    if table is None:
        return None
    from targets.remote.shared_cache import SharedCache

    return SharedCache(table, map(loaded.path, table.trust), store, say)


def elsewhere_of(
    request: Request, cache_root: Path, arguments: Sequence[str] = (), *, detach: bool = False
) -> Elsewhere | None:
    """Return the system on which the steps of ``request`` run; ``None`` for this machine.

    ``arguments`` are those with which ``build`` goes on with a job. With ``detach`` nobody waits
    for jobs.
    """
    chosen = request.elsewhere
    if chosen is None:
        return None
    from targets.systems.find import elsewhere_of as elsewhere_by
    from targets.systems.job_notes import Origin

    origin = Origin(
        arguments=tuple(arguments), folder=str(Path.cwd()), system=chosen.name, table=chosen.table
    )
    return elsewhere_by(
        origin, cache_root, detach=detach, registry=request.registry, trust=request.trust
    )


def left_outputs(store: Cache, elsewhere: Elsewhere | None) -> LeftOutputs:
    """Return what is known of outputs that stayed on systems, for steps that run ``elsewhere``."""
    if elsewhere is None:
        return LeftOutputs(store.root)
    return LeftOutputs(store.root, elsewhere.system, leaves=not elsewhere.checkpoints)
