"""Has the engine ask a registry, pull from it and push to it, and interprets its errors.

The engine logs in with what ``docker login`` or a credential helper keeps: nothing of it is read
here but by the engine's own library, and no message holds it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from docker import DockerClient
from docker.errors import APIError, DockerException
from requests.exceptions import RequestException

from targets.figures import size
from targets.toolchain.credentials import scrub
from targets.toolchain.engine import reason, request_timeout
from targets.version import invocation

ASKING_SECONDS = 6
"""Time limit for a registry to say whether it has an image; then it counts as unreachable."""
_SILENT_SECONDS = 120
"""Time for which an engine may say nothing while it pulls or pushes. It tells of every chunk."""
_TELL_SECONDS = 5

_UNAUTHORIZED = ("unauthorized", "authentication required", "no basic auth", "denied", "forbidden")
_LACKING = ("manifest unknown", "not found", "name unknown", "repository does not exist")
_MOVED = ("Downloading", "Pushing")


class RegistryFailed(Exception):
    """A registry did not do what it was asked for; the message says why."""

    advice = "check that the Docker Engine reaches it"


class RegistryRefused(RegistryFailed):
    """It does not let this user in, or not do that."""

    advice = "`docker login` with a name that may, or run without it"


class ImageRefused(RegistryFailed):
    """An image is there, and is not used; the message says why."""

    advice = f"whoever may pushes it again: `{invocation('images', '--push')}`"


def digest_in_registry(client: DockerClient, name: str, platform: str) -> str | None:
    """Return the digest of the image ``name`` in its registry; ``None`` if it is not there.

    Raises ``RegistryFailed`` if that cannot be known, or it is for another platform.
    """
    try:
        with request_timeout(client, ASKING_SECONDS):
            found = client.api.inspect_distribution(name)  # type: ignore[no-untyped-call]
    except (DockerException, RequestException) as error:
        failed = _failure(error)
        if failed is None:
            return None
        raise failed from error
    platforms = {f"{one.get('os')}/{one.get('architecture')}" for one in found["Platforms"] or ()}
    if platforms and platform not in platforms:
        raise ImageRefused(f"what it has there is for {', '.join(sorted(platforms))}")
    return str(found["Descriptor"]["digest"])


def pull(client: DockerClient, repository: str, digest: str, say: Callable[[str], None]) -> None:
    """Have the engine pull an image by its digest. Raises ``RegistryFailed``."""
    with _exchanging(client):
        lines = client.api.pull(repository, tag=digest, stream=True, decode=True)
        _follow(lines, "pulling", say)


def push(client: DockerClient, repository: str, tag: str, say: Callable[[str], None]) -> str:
    """Have the engine push an image; return the digest that it has there.

    Raises ``RegistryFailed``.
    """
    with _exchanging(client):
        lines = client.api.push(repository, tag=tag, stream=True, decode=True)
        pushed = _follow(lines, "pushing", say)
    if not pushed:
        raise RegistryFailed("the engine does not say what it pushed")
    return pushed


@contextmanager
def _exchanging(client: DockerClient) -> Iterator[None]:
    try:
        with request_timeout(client, _SILENT_SECONDS):
            yield
    except (DockerException, RequestException) as error:
        raise _failure(error) or RegistryFailed("it is not there") from error


def _follow(lines: Iterable[Mapping[str, Any]], doing: str, say: Callable[[str], None]) -> str:
    """Follow what the engine tells, and say now and then how far it is; return the digest of what
    was pushed. Raises ``RegistryFailed`` for an error among its lines."""
    told, digest = time.monotonic(), ""
    moved: dict[str, tuple[int, int]] = {}
    for line in lines:
        if "error" in line:
            raise _failed(str(line["error"])) or RegistryFailed(str(line["error"]))
        digest = line.get("aux", {}).get("Digest", digest)
        detail = line.get("progressDetail") or {}
        if line.get("status") in _MOVED and "total" in detail:
            moved[line["id"]] = (detail["current"], detail["total"])
        if moved and time.monotonic() - told >= _TELL_SECONDS:
            told = time.monotonic()
            done, total = (sum(figures) for figures in zip(*moved.values(), strict=True))
            what = f"{size(done)} of {size(total)}" if done < total else "unpacking"
            say(f"{doing}: {what}")
    return str(digest)


def _failure(error: Exception) -> RegistryFailed | None:
    """Return what an error of the engine means; ``None`` if the image is not there."""
    if isinstance(error, APIError):
        if error.status_code == HTTPStatus.NOT_FOUND:
            return None
        return _failed(reason(error))
    if isinstance(error, RequestException):
        return RegistryFailed("it does not answer")
    return RegistryRefused(f"the engine's credentials cannot be read: {scrub(str(error))}")


def _failed(words: str) -> RegistryFailed | None:
    """Return what the words of an engine mean; ``None`` if the image is not there."""
    line = scrub(" ".join(words.split()))[:300]
    low = line.lower()
    if any(word in low for word in _UNAUTHORIZED):
        return RegistryRefused(line)
    if any(word in low for word in _LACKING):
        return None
    return RegistryFailed(line)
