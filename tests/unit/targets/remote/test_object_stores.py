"""Builds of a team whose shared cache is on a real server of objects."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable
from pathlib import Path

import obstore
import pytest

from targets.remote.address import open_store
from targets.remote.store import Store
from tests.support.object_stores.faulty_proxy import Asked, Fault, faulty_proxy
from tests.support.object_stores.server import ObjectServer, use
from tests.support.stand_builds import Stand
from tests.support.team import Clone, Member, artifact

_NUMBERS = itertools.count()
_LARGE = "w" * (6 << 20)
"""Content of a file that takes two parts."""
Make = Callable[..., Member]


@pytest.fixture
def remote(server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the address of an empty shared cache, with the environment of who may use it."""
    use(server.environment, monkeypatch)
    return f"{server.remote}/cache-{next(_NUMBERS)}"


@pytest.fixture
def member(tmp_path: Path, remote: str) -> Make:
    def make(name: str, **table: object) -> Member:
        return Member(tmp_path / name, remote, **table)

    return make


def stored(remote: str) -> dict[str, bytes]:
    """Return all that is stored, by path."""
    store = open_store(remote, 10)
    paths = [meta["path"] for chunk in obstore.list(store) for meta in chunk]
    return {path: bytes(obstore.get(store, path).bytes()) for path in paths}


def test_a_second_clone_gets_all_steps_and_the_artifact(
    member: Make, remote: str, server: ObjectServer, tmp_path: Path
) -> None:
    first = member("one", push=True)
    made = first.build(Stand("venv", _LARGE))
    assert not first.warnings
    blobs = {path: content for path, content in stored(remote).items() if "blobs/" in path}
    assert blobs
    for path, content in blobs.items():
        assert hashlib.sha256(content).hexdigest() == path.rpartition("/")[2]

    second = member("two")
    got = second.build()
    assert second.ran == []
    assert artifact(got) == artifact(made) == _LARGE
    assert {step.reason for step in got.report.passes} == {"cached (shared)"}
    assert not second.warnings

    # What gives rights is in no file of either, in no plan and no line.
    told = [str(made.plan), str(got.plan), *first.world.view.lines, *second.world.view.lines]
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    for name, secret in server.environment.items():
        if name.endswith("KEY"):
            assert not any(secret.encode() in text for text in (*files, *map(str.encode, told)))


def test_everything_here_asks_nothing_of_it(
    member: Make, server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with faulty_proxy(server) as proxy:
        use(server.at(proxy.port), monkeypatch)
        pushing, reading = member("one", push=True), member("two")
        pushing.build()
        reading.build()
        assert proxy.asked
        proxy.asked.clear()
        for again in (pushing, reading):
            again.build()
            again.world.builder(Stand("venv"), shared=again.shared()).plan()
        assert proxy.asked == []


def test_of_two_writers_one_is_the_first(remote: str) -> None:
    contents = [f"of {number}".encode() for number in range(6)]
    won: list[bytes] = []
    start = threading.Barrier(len(contents))

    def write(content: bytes) -> None:
        store = Store(remote)
        store.look("results/x")
        start.wait()
        if store.create("results/x", content):
            won.append(content)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (first,) = won
    store = Store(remote)
    found = store.read("results/x", 100)
    assert found is not None and found[0] == first
    # One that is replaced must still be what was read.
    assert store.create("results/x", b"better", found[1])
    assert not store.create("results/x", b"too late", found[1])
    store.remove("results/x")
    assert not store.create("results/x", b"it was removed", found[1])
    assert store.read("results/x", 100) is None


def test_a_bucket_that_is_not_there_is_said(tmp_path: Path, remote: str) -> None:
    bucket, _, _ = remote.rpartition("/")
    nowhere = f"{bucket}-of-nobody/cache"
    one = Clone(tmp_path / "one", nowhere)
    assert one.get() is None
    (warning,) = one.warnings
    assert f"{nowhere} does not exist" in warning
    assert "mend `remote`" in warning
    one.push()
    assert len(one.warnings) == 2
    # Nothing is noted as brought: when the bucket is there, what was made goes to it.
    one.remote = remote
    one.push()
    assert Clone(tmp_path / "two", remote).get() == "weights"


def test_a_flipped_bit_on_the_way_is_fetched_again(
    tmp_path: Path, remote: str, server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    Clone(tmp_path / "one", remote).push()
    with faulty_proxy(server) as proxy:
        use(server.at(proxy.port), monkeypatch)
        flipped: list[Asked] = []

        def once(asked: Asked) -> Fault | None:
            if asked.method == "GET" and "/blobs/" in asked.path and not flipped:
                flipped.append(asked)
                return Fault(flip=3)
            return None

        proxy.rule = once
        two = Clone(tmp_path / "two", remote)
        assert two.get() == "weights"
    assert flipped
    (line,) = two.lines
    assert "model.bin" in line and "came damaged: fetched again" in line
