"""Whether another machine has room for what is sent there."""

from __future__ import annotations

from targets.errors import EnvironmentUnable
from targets.figures import size


def require_room(
    name: str, free: int, needed: int, what: str, how: str = "e.g. `docker system prune`"
) -> None:
    """Raise ``EnvironmentUnable`` if ``free`` bytes are less than ``needed`` for ``what``; ``how``
    is how a user frees some."""
    if free < needed:
        raise EnvironmentUnable(
            f"too little room on {name}: {what} takes about {size(needed)}, {size(free)} are free",
            f"nothing was sent; free some space on that machine, {how}",
        )
