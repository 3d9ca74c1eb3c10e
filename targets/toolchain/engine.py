"""The Docker Engine: finding it, waiting for it, and what it says when it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
from docker import DockerClient
from docker.errors import APIError, DockerException
from requests.exceptions import RequestException

from targets.errors import EnvironmentUnable
from targets.toolchain.process import DISK_FULL

OLDEST_API = (1, 41)
"""Docker Engine 20.10, what Debian 12 ships."""

_OWN_SOCKET = "http+docker://localhost"
"""What docker-py calls an engine that it reaches through a Unix socket."""

ANSWER_SECONDS = 10
REQUEST_SECONDS = 60


def connect() -> DockerClient:
    """Return a client of the engine that ``DOCKER_HOST`` or the active CLI context names.

    Raises ``EnvironmentUnable`` saying why there is none that Quern can use.
    """
    try:
        client = docker.from_env(timeout=ANSWER_SECONDS)
        server = client.version()
    except (DockerException, RequestException, OSError) as error:
        raise _unusable(error) from error
    api = tuple(int(part) for part in str(server["ApiVersion"]).split("."))
    if api < OLDEST_API:
        client.close()
        raise EnvironmentUnable(
            f"the Docker Engine is too old (API {server['ApiVersion']})",
            "Quern needs Docker Engine 20.10 (API 1.41) or newer",
        )
    if server["Os"] != "linux":
        client.close()
        raise EnvironmentUnable(
            f"the Docker Engine runs {server['Os']} containers", "switch it to Linux containers"
        )
    client.api.timeout = REQUEST_SECONDS
    return client


def platform_of(client: DockerClient) -> str:
    """Return the platform of the engine's containers: ``linux/amd64``."""
    server = client.version()
    return f"{server['Os']}/{server['Arch']}"


def data_root(client: DockerClient) -> Path | None:
    """Return the folder in which an engine of this machine keeps images; ``None`` for another."""
    if client.api.base_url != _OWN_SOCKET:
        return None
    root = Path(client.info()["DockerRootDir"])
    try:
        return root if root.exists() else None
    except PermissionError:
        return None


def _unusable(error: Exception) -> EnvironmentUnable:
    text = str(error)
    if "Permission denied" in text or "PermissionError" in text:
        return EnvironmentUnable(
            "no permission to use the Docker Engine",
            "add yourself to the group that owns its socket: `sudo usermod -aG docker $USER`, "
            "then log in again",
        )
    if "FileNotFoundError" in text or "No such file" in text:
        return EnvironmentUnable(
            "no Docker Engine is installed or running",
            "install one, e.g. `apt-get install docker.io`, or use `--runtime venv`",
        )
    return EnvironmentUnable(
        f"no Docker Engine answers ({_short(text)})",
        "start it, or check DOCKER_HOST and `docker context ls`, or use `--runtime venv`",
    )


def _short(text: str) -> str:
    """Return the innermost cause of a requests error, which nests its causes in parentheses."""
    line = " ".join(text.split())
    return line if len(line) <= 160 else f"{line[:157]}..."


def reason(error: Exception) -> str:
    """Return what the engine said, without the address of the request."""
    if isinstance(error, APIError):
        return str(error.explanation or error)
    return _short(str(error))


def full_disk(why: str, doing: str, log: Path | None = None) -> EnvironmentUnable | None:
    """Return the error for a full disk of the engine's, if that is what it said."""
    if DISK_FULL.lower() not in why.lower():
        return None
    return EnvironmentUnable(
        f"the Docker Engine's disk is full ({doing})",
        "free some space, e.g. `docker image prune`, and run again",
        log,
    )


def answers(client: DockerClient) -> bool:
    """Return whether the engine still answers, within a few seconds."""
    try:
        with patience(client, 3):
            client.ping()
    except (RequestException, DockerException):
        return False
    return True


@contextmanager
def patience(client: DockerClient, seconds: int) -> Iterator[None]:
    """Let requests wait ``seconds`` for an answer; docker-py takes no such argument for each."""
    before = client.api.timeout
    client.api.timeout = seconds
    try:
        yield
    finally:
        client.api.timeout = before
