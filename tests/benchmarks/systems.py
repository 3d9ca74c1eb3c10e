"""What it costs to build on another machine: ``nox -s bench-systems``.

Starts a Docker Engine of its own, in a network of its own, behind mutual TLS and behind an
``sshd``, and builds the shipped example on it: seconds, and bytes that went there and came back.
The engine is on this machine, so a real network adds its own time. Needs root, and the image of the
cpu target in the engine of this machine, which is sent. Results must have the keys and the bytes of
a build here.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from targets.cli.options import DEFAULT_CONFIG
from targets.errors import CheckFailed
from targets.figures import size
from tests.benchmarks import pages
from tests.benchmarks.pages import Section
from tests.support.engine_elsewhere import EngineElsewhere, Proxy, SshServer

Results = Mapping[str, object]
"""The files of passes, with their digests, by key."""

EXAMPLE = DEFAULT_CONFIG.read_text("utf-8")
_COLUMNS = ("what", "seconds", "sent", "received", "passes as here")
_HOW = """\
`configs/tone.toml` for cpu from an empty result cache, on an engine of another machine as seen from
here: behind mutual TLS, then behind SSH, where the image is by then. Bytes are those on the wire,
both ways, of a proxy that all of it goes through. A pass is as here if it has the key and the bytes
that the build here gave it."""


@dataclass(frozen=True)
class Way:
    """One way to the engine, and what counts the bytes on it."""

    url: str
    proxy: Proxy
    environment: Mapping[str, str]


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(prog="nox -s bench-systems --", description=__doc__)
    pages.add_out(parser, pages.MEASURED)
    return parser


@dataclass(frozen=True)
class Built:
    """What one build took, and what it made."""

    what: str
    seconds: float
    sent: int
    received: int
    results: Results


def main() -> None:
    """Measure, show, and write the section."""
    arguments = parser().parse_args()
    pages.require_clean(arguments.out)
    origin = pages.origin("./nox -s bench-systems", pages.beside())
    with tempfile.TemporaryDirectory(prefix="quern-systems-") as name:
        rows = compared(measure(Path(name)))
        section = Section("systems", "Building on another machine", rows, _HOW, _COLUMNS)
        pages.measure(section, arguments.out, origin)


def compared(builds: Iterator[Built]) -> Iterator[str]:
    """Yield one table row per build, the first of which is the one here."""
    here = next(builds)
    yield f"| {here.what} | {here.seconds:.0f} | – | – | – |"
    for one in builds:
        same = sum(one.results.get(key) == files for key, files in here.results.items())
        moved = f"{size(one.sent)} | {size(one.received)}"
        yield f"| {one.what} | {one.seconds:.0f} | {moved} | {same} of {len(here.results)} |"


def measure(folder: Path) -> Iterator[Built]:
    """Yield a build here, then two on the engine by each way to it."""
    began = time.perf_counter()
    build(DEFAULT_CONFIG, folder / "here" / "cache", {})
    seconds = time.perf_counter() - began
    yield Built("here: a build from nothing", seconds, 0, 0, results(folder / "here" / "cache"))
    (folder / "engine").mkdir()
    engine = EngineElsewhere(folder / "engine")
    ssh = SshServer(folder / "sshd")
    engine.start()
    ssh.start()
    try:
        for name in WAYS:
            yield from builds(folder, name, engine, ssh)
    finally:
        ssh.stop()
        engine.stop()


def builds(
    folder: Path, name: str, engine: EngineElsewhere, ssh: SshServer, text: str = EXAMPLE
) -> Iterator[Built]:
    """Yield a build on the engine, by the way with this name, and the same one once more; of the
    shipped example, or with another ``text`` of its config."""
    way = WAYS[name](engine, ssh)
    cache = folder / name / "cache"
    config = example(
        folder / name,
        f'host = "box"\n{text}\n[systems.box]\ntype = "docker"\n'
        f'engine = "{way.url}"\ncertificates = "{engine.certificates}"\npatience = 600\n',
    )
    for what in ("a build from nothing", "the same build once more"):
        yield timed(f"{name}: {what}", way, config, cache)


def over_tls(engine: EngineElsewhere, _ssh: SshServer) -> Way:
    """Return the way behind mutual TLS."""
    return Way(engine.url, engine.proxy, {})


def over_ssh(engine: EngineElsewhere, ssh: SshServer) -> Way:
    """Return the way behind SSH."""
    proxy = Proxy(lambda: socket.create_connection(("127.0.0.1", ssh.port)))
    ssh.go_through(proxy.port)
    return Way(ssh.url(engine.socket), proxy, {"PATH": ssh.path})


WAYS = {"tls": over_tls, "ssh": over_ssh}


def example(folder: Path, text: str) -> Path:
    """Return a config in ``folder`` with this text, beside what the shipped one reads."""
    folder.mkdir()
    for shared in DEFAULT_CONFIG.parent.iterdir():
        (folder / shared.name).symlink_to(shared)
    config = folder / "elsewhere.toml"
    config.write_text(text)
    return config


def timed(what: str, way: Way, config: Path, cache: Path) -> Built:
    """Return what a build took, in wall seconds and in bytes that it sent and received."""
    sent, received = way.proxy.sent, way.proxy.received
    began = time.perf_counter()
    build(config, cache, way.environment)
    seconds = time.perf_counter() - began
    moved = (way.proxy.sent - sent, way.proxy.received - received)
    return Built(what, seconds, *moved, results(cache))


def build(config: Path, cache: Path, environment: Mapping[str, str]) -> None:
    """Build for cpu. That a busy machine misses a limit of time is no matter."""
    command = [sys.executable, "-m", "targets", "build", "--target", "cpu"]
    places = ["--config", str(config), "--cache", str(cache), "--dist", str(cache.parent / "dist")]
    done = subprocess.run(
        [*command, *places],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode not in (0, CheckFailed.exit_code):
        sys.exit(done.returncode)


def results(cache: Path) -> Results:
    """Return the files of every pass that a build with a cache has made, with their digests, by
    key: of those too that stayed where they were made."""
    found = {}
    kept = [json.loads(file.read_text("utf-8")) for file in cache.glob("objects/*/*/result.json")]
    stayed = [json.loads(file.read_text("utf-8"))["result"] for file in cache.glob("left/*.json")]
    for result in (*kept, *stayed):
        if not result["verdicts"] and not result["evidence"]:
            found[result["key"]] = result["files"]
    return found


if __name__ == "__main__":
    main()
