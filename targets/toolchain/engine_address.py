"""Finds the socket of an engine that docker-py does not look for: Podman's, or a rootless one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from docker.constants import DEFAULT_UNIX_SOCKET
from docker.context import ContextAPI

_DOCKERS = Path(DEFAULT_UNIX_SOCKET.removeprefix("http+unix://"))


def engine_address(
    environment: Mapping[str, str] = os.environ, dockers_socket: Path = _DOCKERS
) -> str | None:
    """Return the address of an engine where docker-py finds none; ``None`` if it finds its own.

    Whatever names a Docker Engine comes first: ``DOCKER_HOST``, a context of the Docker client, the
    socket ``dockers_socket`` if this user may use it. Then ``CONTAINER_HOST``, which names
    Podman's, the sockets of the user's own engines, and Podman's of the whole machine.
    """
    if environment.get("DOCKER_HOST") or environment.get("DOCKER_CONTEXT"):
        return None
    context = ContextAPI.get_current_context()
    if (context is not None and context.name != "default") or _usable(dockers_socket):
        return None
    if environment.get("CONTAINER_HOST"):
        return environment["CONTAINER_HOST"]
    return next((f"unix://{path}" for path in _sockets(environment) if _usable(path)), None)


def _sockets(environment: Mapping[str, str]) -> Iterator[Path]:
    """Yield where engines put their sockets by default, the user's own first."""
    if sys.platform == "win32":
        return  # engines have named pipes there, and docker-py knows the one
    own = Path(environment.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    yield own / "docker.sock"
    yield own / "podman" / "podman.sock"
    yield Path("/run/podman/podman.sock")


def _usable(socket: Path) -> bool:
    return os.access(socket, os.R_OK | os.W_OK)
