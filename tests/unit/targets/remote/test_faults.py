"""A shared cache whose network and server fail, as they do; with moto behind a proxy."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.contract.schema import SharedCacheTable
from targets.cli.options import PROJECT
from targets.doctor.finding import Machine
from targets.doctor.shared_cache import shared_cache
from targets.remote import store
from targets.remote.shared_cache import SIGN_KEY
from targets.remote.store import Store
from tests.support.cached_steps import KEY, a_step, write_step
from tests.support.object_stores.faulty_proxy import Asked, Fault, FaultyProxy, faulty_proxy
from tests.support.object_stores.moto import rights
from tests.support.object_stores.server import ObjectServer, use
from tests.support.stand_builds import Stand
from tests.support.team import Clone, Member, artifact

_NUMBERS = itertools.count()
_LARGE = "w" * (6 << 20)
_CAME = 4 << 20
"""Content of a file that takes two parts."""


@pytest.fixture
def proxy(moto_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """Return a proxy before moto, which this process asks."""
    with faulty_proxy(moto_server) as running:
        use(moto_server.at(running.port), monkeypatch)
        yield running


@pytest.fixture
def clone(tmp_path: Path, moto_server: ObjectServer) -> Callable[..., Clone]:
    remote = f"{moto_server.remote}/faults-{next(_NUMBERS)}"

    def make(name: str, **table: object) -> Clone:
        return Clone(tmp_path / name, remote, **table)

    return make


Make = Callable[..., Clone]


def of_blobs(fault: Fault, method: str, times: int) -> Callable[[Asked], Fault | None]:
    """Return a rule that does so to the first requests of a method for bytes."""
    left = [times]

    def rule(asked: Asked) -> Fault | None:
        if asked.method == method and "/blobs/" in asked.path and left[0]:
            left[0] -= 1
            return fault
        return None

    return rule


PASSING = {
    "busy when read": ("GET", Fault(503, b"<Error><Code>SlowDown</Code></Error>")),
    "busy when written": ("PUT", Fault(503, b"<Error><Code>SlowDown</Code></Error>")),
    "too many requests": ("PUT", Fault(429)),
    "broken": ("GET", Fault(500)),
    "late": ("GET", Fault(seconds=0.5)),
    "cut on the way down": ("GET", Fault(cut_down=3)),
    "cut on the way up": ("PUT", Fault(cut_up=3)),
    "the answer is lost": ("PUT", Fault(unanswered=True)),
}


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_costs_nothing(proxy: FaultyProxy, clone: Make, fault: str) -> None:
    method, happens = PASSING[fault]
    proxy.rule = of_blobs(happens, method, 2)
    one, two = clone("one"), clone("two")
    one.push()
    assert two.get() == "weights"
    assert not one.warnings + two.warnings


LASTING = {
    "busy": (Fault(503, b"<Error><Code>SlowDown</Code></Error>"), "cannot be used: 503 SlowDown"),
    "silent": (Fault(hang=True), "cannot be reached: it does not answer"),
    "cut": (Fault(cut_down=0, cut_up=0), "cannot be reached: "),
    "expired": (
        Fault(400, b"<Error><Code>ExpiredToken</Code><Message>It has expired.</Message></Error>"),
        "refuses these credentials: 400 ExpiredToken: It has expired.",
    ),
}


@pytest.mark.parametrize("fault", LASTING)
def test_what_lasts_costs_one_warning(
    proxy: FaultyProxy, clone: Make, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "READ_SECONDS", 1)
    monkeypatch.setattr(store, "WRITE_SECONDS", 1)
    happens, words = LASTING[fault]
    one, two, three = clone("one"), clone("two"), clone("three")
    one.push()
    proxy.rule = lambda _asked: happens
    assert two.get() is None
    three.push()
    for each in (two, three):
        (warning,) = each.warnings
        assert warning.startswith("warning: ")
        assert words in warning
    proxy.rule = lambda _asked: None
    assert two.get() == "weights"


def test_bytes_that_came_before_a_break_do_not_come_again(proxy: FaultyProxy, clone: Make) -> None:
    clone("one").push(_LARGE)
    gone = itertools.count()

    def in_the_middle(asked: Asked) -> Fault | None:
        if asked.method == "GET" and "/blobs/" in asked.path:
            cut = Fault(cut_down=_CAME)
            return Fault(400) if next(gone) else cut  # after it nothing that is tried again
        return None

    proxy.rule = in_the_middle
    two = clone("two")
    assert two.get() is None
    assert "cannot be used: 400" in two.warnings[-1]
    proxy.rule = lambda _asked: None
    proxy.asked.clear()
    assert two.get() == _LARGE
    (asked,) = fetched(proxy)
    begin = int(asked.range.removeprefix("bytes=").partition("-")[0])
    assert _CAME - (1 << 20) < begin <= _CAME


def fetched(proxy: FaultyProxy) -> list[Asked]:
    return [asked for asked in proxy.asked if asked.method == "GET" and "/blobs/" in asked.path]


@pytest.mark.parametrize("who", ["reader", "nobody", "wrong"])
def test_rights(
    clone: Make, moto_server: ObjectServer, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    use(moto_server.environment, monkeypatch)
    with rights(moto_server) as users:
        use(users["all"], monkeypatch)
        clone("one").push()
        wrong = {**users["all"], "AWS_SECRET_ACCESS_KEY": "planted-wrong-secret"}
        strange = {"AWS_ACCESS_KEY_ID": "AKIANOBODY", "AWS_SECRET_ACCESS_KEY": "planted"}
        use({"reader": users["reader"], "nobody": strange, "wrong": wrong}[who], monkeypatch)
        two, three = clone("two"), clone("three")
        three.remote += "-of-nobody-yet"
        got = two.get()
        three.push("else")
        use(users["all"], monkeypatch)
        assert clone("four").get() == "weights"
    assert got == ("weights" if who == "reader" else None)
    if who == "reader":
        assert not two.warnings
    (warning,) = three.warnings
    codes = {"nobody": "InvalidAccessKeyId", "wrong": "SignatureDoesNotMatch"}
    assert f"refuses these credentials: 403 {codes.get(who, 'AccessDenied')}" in warning
    assert "AWS_PROFILE" in warning
    assert "planted" not in warning


def test_who_may_only_read_reads_on(
    clone: Make, moto_server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(moto_server.environment, monkeypatch)
    with rights(moto_server) as users:
        use(users["all"], monkeypatch)
        clone("one").push()
        use(users["reader"], monkeypatch)
        two, new = clone("two"), "cd" * 32
        with two.cache.work_folder() as work:
            folder = two.cache.begin(work, [a_step(new)], {"runtime": "venv"})
            write_step(folder, new)
            two.cache.finish(folder)
        shared = two.shared()
        shared.push_kept(a_step(new), travels=True)
        shared.finish()
        (warning,) = two.warnings
        assert "; nothing is brought to it (" in warning
        assert KEY in shared.find([KEY])
        assert shared.bring(a_step())
        assert len(two.warnings) == 1


@pytest.mark.parametrize(
    ("who", "trust", "severity", "said"),
    [
        ("all", (), "ok", ", takes "),
        ("reader", ("team.pub",), "ok", f"{SIGN_KEY} names no key to sign with"),
        ("reader", (), "warning", "it may be read, and not be written: "),
    ],
)
def test_the_doctor_says_what_these_rights_are_enough_for(
    clone: Make,
    moto_server: ObjectServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    who: str,
    trust: tuple[str, ...],
    severity: str,
    said: str,
) -> None:
    use(moto_server.environment, monkeypatch)
    with rights(moto_server) as users:
        use(users["all"], monkeypatch)
        one = clone("one")
        one.push(_LARGE)
        use(users[who], monkeypatch)
        table = SharedCacheTable(remote=one.remote, push=True, trust=trust)
        (found,) = shared_cache(Machine(tmp_path, tmp_path, (), table))
    assert (found.severity, said in found.message) == (severity, True), found.message
    if found.severity == "ok":
        assert " MB/s" in found.message
    else:
        assert "s3:PutObject" in found.remedy


# Processes that end while something is on its way.

_PUSH = """
import sys
from pathlib import Path
from tests.support.team import Clone
Clone(Path(sys.argv[1]), sys.argv[2]).push("w" * (6 << 20))
"""


def test_an_upload_that_is_killed_leaves_nothing_half(proxy: FaultyProxy, clone: Make) -> None:
    hanging = threading.Event()

    def rule(asked: Asked) -> Fault | None:
        if asked.method == "PUT" and "partNumber=2" in asked.path:
            hanging.set()
            return Fault(hang=True)
        return None

    proxy.rule = rule
    one, two = clone("one"), clone("two")
    command = [sys.executable, "-c", _PUSH, str(one.cache.root), one.remote]
    with subprocess.Popen(command, cwd=PROJECT) as process:
        assert hanging.wait(60)
        process.kill()
    remote = Store(one.remote)
    assert list(remote.list("blobs")) == list(remote.list("results")) == []
    proxy.rule = lambda _asked: None
    assert two.get() is None
    assert not two.warnings
    one.push()
    assert not one.warnings
    assert two.get() == _LARGE


@pytest.mark.servers
@pytest.mark.parametrize("way", ["up", "down"])
def test_a_build_that_is_stopped_ends_at_once(
    proxy: FaultyProxy, moto_server: ObjectServer, tmp_path: Path, way: str
) -> None:
    remote = f"{moto_server.remote}/stopped-{way}"
    one, two = (
        Member(tmp_path / "one", remote, push=way == "down"),
        Member(tmp_path / "two", remote),
    )
    one.build(Stand("venv", _LARGE))
    one.table = one.table.model_copy(update={"push": True})
    hanging = threading.Event()

    def rule(asked: Asked) -> Fault | None:
        second = "partNumber=2" in asked.path if way == "up" else "/blobs/" in asked.path
        if second and asked.method == ("PUT" if way == "up" else "GET"):
            hanging.set()
            return Fault(hang=True)
        return None

    proxy.rule = rule
    stopped = one if way == "up" else two
    command = [*stopped.command(), "--dist", str(stopped.world.dist)]
    with subprocess.Popen(
        command,
        cwd=PROJECT,
        env={**os.environ, "COLUMNS": "80"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert hanging.wait(120)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
        seconds = time.monotonic() - begun
    assert process.returncode == 130, said
    assert seconds < store.READ_SECONDS  # no request ran into its own limit
    assert "Traceback" not in said
    proxy.rule = lambda _asked: None
    one.build()
    assert artifact(two.build()) == _LARGE
    assert two.ran == []
