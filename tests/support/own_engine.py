"""A Docker Engine of a test's own, to be killed and frozen, with an image for gated builds."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
from docker.errors import DockerException
from requests.exceptions import RequestException

from targets.cli.options import PROJECT
from targets.target import load_target
from targets.toolchain.base import ensure_base, read_recipe
from targets.toolchain.image import BASE_LABEL, PYTHON, expected_image
from targets.toolchain.platforms import this_machine
from tests.support.capabilities import program, skip
from tests.support.gated_builds import Surroundings

_BASE = PROJECT / "images" / "base" / "base.toml"
_NEEDED = ("pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection")
"""Packages without which no step runs."""


class OwnEngine:
    """A ``dockerd``, in a folder of its own, that nobody else uses."""

    def __init__(self, folder: Path) -> None:
        if os.geteuid():
            skip("container", "this user may not start an engine")
        self._folder = folder
        self._daemon: subprocess.Popen[bytes] | None = None
        self._containerd: subprocess.Popen[bytes] | None = None
        self.address = f"unix://{folder}/socket"
        self.around = Surroundings({"DOCKER_HOST": self.address})
        # In a network of its own: there it does not remove the bridge of the machine's engine.
        self.before = ["unshare", "--net"]
        self.more_options: list[str] = []

    @property
    def client(self) -> docker.DockerClient:
        return docker.DockerClient(self.address, timeout=300)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        if self._containerd is None:
            # Apart from it, as distributions have it: it lives on when the engine is killed.
            (self._folder / "config.toml").write_text('disabled_plugins = ["cri"]\n')
            options = {"config": "config.toml", "root": "c-root", "state": "c", "address": "c.sock"}
            places = [f"--{name}={self._folder / place}" for name, place in options.items()]
            self._containerd = self._run("containerd", *places)
        places = [f"--{name}={self._folder / name}" for name in ("data-root", "exec-root")]
        alone = ["--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"]
        beside = [f"--containerd={self._folder / 'c.sock'}", f"--pidfile={self._folder / 'pid'}"]
        engine = (*self.before, program("container", "dockerd"))
        own = (*places, *alone, *beside, *self.more_options)
        self._daemon = self._run(*engine, *own, "--host", self.address)
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self._daemon.poll() is None, (self._folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, "dockerd did not start"
            time.sleep(0.1)

    def _run(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [program("container", name), *arguments],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except (DockerException, RequestException):
            return False

    def kill(self) -> None:
        """Kill the engine, as it dies of a lack of memory; what it started goes on."""
        assert self._daemon is not None
        self._daemon.kill()
        self._daemon.wait()

    def freeze(self) -> None:
        """Let it do nothing any more."""
        for process in self._processes():
            process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        for process in self._processes():
            process.send_signal(signal.SIGCONT)

    def _processes(self) -> list[subprocess.Popen[bytes]]:
        return [one for one in (self._daemon, self._containerd) if one is not None]

    def stop(self) -> None:
        """End it with all of its containers."""
        self.thaw()
        if self._answers():
            for container in self.client.containers.list(all=True):
                container.remove(force=True)
        for process in self._processes():
            process.terminate()
            process.wait(30)
        for mounted in (self._folder / "data-root", self._folder / "exec-root/netns/default"):
            subprocess.run(["umount", "--lazy", str(mounted)], check=False, capture_output=True)

    def make_image(self, python: Path, scratch: Path) -> None:
        """Make the image of gated steps there."""
        make_gated_image(self.client, python, scratch)


def make_gated_image(client: docker.DockerClient, python: Path, scratch: Path) -> None:
    """Make the image of the cpu toolchain in the engine of ``client``, of which only what gated
    steps need is in it, from the virtual environment of ``python``."""
    shared = docker.from_env()
    base = ensure_base(shared, read_recipe(_BASE), scratch, print)
    saved = b"".join(shared.images.get(base.image).save(named=True))
    client.images.load(saved)
    expected = expected_image(load_target("cpu").toolchain(this_machine()))
    labels = {**expected.labels, BASE_LABEL: base.identity}
    lines = [
        f"FROM {base.image}",
        "COPY packages /opt/quern/lib/python3.11/site-packages",
        f"RUN mkdir -p /opt/quern/bin && ln -s /usr/bin/python3 {PYTHON} "
        "&& echo 'home = /usr/bin' > /opt/quern/pyvenv.cfg",
        *(f'LABEL "{name}"="{value}"' for name, value in labels.items()),
        *(f'ENV {name}="{value}"' for name, value in expected.variables.items()),
        f"CMD {json.dumps(expected.command)}",
    ]
    packages = next((python.parents[1] / "lib").glob("python3*")) / "site-packages"
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        text = "\n".join(lines).encode()
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))
        for found in packages.iterdir():
            if found.name.partition(".")[0].partition("-")[0] in _NEEDED:
                tar.add(found, f"packages/{found.name}")
    context.seek(0)
    client.images.build(
        fileobj=context,
        custom_context=True,
        tag="quern/cpu:gated",
        network_mode="none",
        rm=True,
    )


@contextmanager
def own_engine(python: Path) -> Iterator[OwnEngine]:
    """Yield an engine that runs, with the image of gated steps; it is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="quern-engine-"))
    engine = OwnEngine(folder)
    try:
        engine.start()
        try:
            engine.make_image(python, folder / "base")
            yield engine
        finally:
            engine.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
