"""Fetches packages of a lock from Debian's own mirror, for hosts whose apt knows none.

The mirror is not trusted: each file must have the size and the SHA-256 of the lock. Proxies and
certificates are those of the environment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

import requests

from pipeline.contract.sha256 import sha256_of_bytes
from targets.errors import EnvironmentUnable
from targets.toolchain.credentials import scrub
from targets.toolchain.debian.packages import Package, PackageLock
from targets.toolchain.platforms import or_venv

HOST = "deb.debian.org"

_ASKING_SECONDS = 6
_CHUNK = 1 << 20
_SECONDS = 20
"""Time limit for the next bytes of a file."""


def debians_mirrors(suite: str) -> Mapping[str, tuple[str, ...]]:
    """Return the URIs of ``suite``, its updates and its security, by release."""
    main = (f"http://{HOST}/debian/",)
    security = (f"http://{HOST}/debian-security/",)
    return {suite: main, f"{suite}-updates": main, f"{suite}-security": security}


def has_packages(lock: PackageLock) -> bool:
    """Return whether the mirror can be reached and has the first package of ``lock``, within six
    seconds."""
    package = lock.package[0]
    (uri,) = debians_mirrors(lock.suite)[package.release]
    with suppress(requests.RequestException):
        return requests.head(_address(uri, package), timeout=_ASKING_SECONDS).ok
    return False


def fetch(
    packages: Sequence[Package], mirrors: Mapping[str, Sequence[str]], _folder: Path
) -> Iterator[tuple[Package, bytes]]:
    """Yield each of ``packages`` with its content. Raises ``EnvironmentUnable``."""
    with requests.Session() as session:
        for package in packages:
            yield package, _content(session, mirrors[package.release][0], package)


def _content(session: requests.Session, uri: str, package: Package) -> bytes:
    what = f"{package.name} {package.version} of the base image"
    try:
        with session.get(_address(uri, package), timeout=_SECONDS, stream=True) as answer:
            if answer.status_code == HTTPStatus.NOT_FOUND:
                raise EnvironmentUnable(
                    f"{HOST} no longer has {what}",
                    "`nox -s lock -- --base` on a Debian host pins the versions that it has now",
                )
            answer.raise_for_status()
            content = b""
            for chunk in answer.iter_content(_CHUNK):
                content += chunk
                if len(content) > package.size:
                    break
    except requests.RequestException as error:
        raise EnvironmentUnable(
            f"{what} cannot be fetched from {HOST}: {scrub(str(error))}",
            or_venv("check network and proxy"),
        ) from error
    if sha256_of_bytes(content) != package.sha256:
        raise EnvironmentUnable(
            f"{HOST} serves another {what} than the lock says",
            "something in between changes what it sends: do not trust it",
        )
    return content


def _address(uri: str, package: Package) -> str:
    return f"{uri}{quote(package.path)}"
