"""The base's packages from Debian's own mirror, for hosts whose apt knows none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from targets.errors import EnvironmentUnable
from targets.toolchain.base import read_recipe
from targets.toolchain.debian.own_mirror import debians_mirrors, fetch
from targets.toolchain.debian.packages import Package
from tests.support.debian_packages import SmallPackage

IMAGES = Path(__file__).parents[4] / "images" / "base"
SMALL = SmallPackage()

Read = Callable[[Sequence[Package]], list[tuple[Package, bytes]]]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Keep the tests' output clean."""


@pytest.fixture
def read(tmp_path: Path) -> Iterator[Read]:
    """Yield a function that fetches from a mirror in ``tmp_path``, which has one package."""
    file = tmp_path / SMALL.locked().path
    file.parent.mkdir(parents=True)
    file.write_bytes(SMALL.deb())
    handler = partial(Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        places = {"bookworm": (f"http://127.0.0.1:{server.server_port}/",)}
        yield lambda packages: list(fetch(packages, places, tmp_path))
        server.shutdown()


def test_what_has_the_locks_digest_is_taken(read: Read) -> None:
    assert read([SMALL.locked()]) == [(SMALL.locked(), SMALL.deb())]


@pytest.mark.parametrize("content", [b"", b"x", SMALL.deb() + b"x", SMALL.deb()[:-1]])
def test_anything_else_is_refused(read: Read, tmp_path: Path, content: bytes) -> None:
    (tmp_path / SMALL.locked().path).write_bytes(content)
    with pytest.raises(EnvironmentUnable, match=r"another thing 1:2\.0-3 of the base image than"):
        read([SMALL.locked()])


def test_a_version_that_is_gone_is_named(read: Read) -> None:
    gone = SMALL.locked().model_copy(update={"path": "pool/main/g/gone_1_all.deb"})
    with pytest.raises(EnvironmentUnable, match=r"no longer has thing 1:2\.0-3") as caught:
        read([gone])
    assert "nox -s lock -- --base" in caught.value.hint


def test_a_mirror_out_of_reach_is_said(tmp_path: Path) -> None:
    places = {"bookworm": ("http://127.0.0.1:9/",)}
    with pytest.raises(EnvironmentUnable, match=r"cannot be fetched from deb\.debian\.org"):
        list(fetch([SMALL.locked()], places, tmp_path))


def test_every_release_of_the_shipped_locks_is_on_it() -> None:
    recipe = read_recipe(IMAGES / "base.toml")
    for lock in recipe.locks.values():
        assert {package.release for package in lock.package} <= set(debians_mirrors(lock.suite))
