"""A registry of a test's own: Debian's ``docker-registry``, in a folder, on a port of ours."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from docker import DockerClient
from docker.models.images import Image

from targets.toolchain.context import tar_stream
from targets.toolchain.registry.expected import ExpectedImage

PROGRAM = "docker-registry"

USER, PASSWORD = "tester", "correct-horse"
_HTPASSWD = f"{USER}:$2y$05$owU/ph5BmgdkP6vps.g3suUEArAJ549RofGPGWeS.bumsGkkcNXKy\n"
"""Made by ``htpasswd -nbB`` from these two."""

_CHUNK = 4096
MADE = "quern-test/made"
"""Name of images that :func:`made_image` makes."""


@dataclass(frozen=True)
class Registry:
    """A registry that runs."""

    host: str
    """Address and port."""
    folder: Path

    @property
    def repository(self) -> str:
        return f"{self.host}/team/quern"

    def blob(self, digest: str) -> Path:
        """Return the file in which it keeps the bytes with this digest."""
        sha256 = digest.removeprefix("sha256:")
        blobs = self.folder / "data/docker/registry/v2/blobs/sha256"
        return blobs / sha256[:2] / sha256 / "data"

    def manifest(self, digest: str) -> dict[str, object]:
        return dict(json.loads(self.blob(digest).read_bytes()))

    def layers(self, digest: str) -> list[Path]:
        """Return the files of an image's layers, the largest last."""
        layers = self.manifest(digest)["layers"]
        assert isinstance(layers, list)
        return sorted(
            (self.blob(layer["digest"]) for layer in layers), key=lambda file: file.stat().st_size
        )


@contextmanager
def registry(
    folder: Path,
    *,
    login: bool = False,
    certificate: tuple[Path, Path] | None = None,
    address: str = "127.0.0.1",
    before: Sequence[str] = (),
    connect: Callable[[tuple[str, int]], socket.socket] = socket.create_connection,
) -> Iterator[Registry]:
    """Yield a registry in ``folder``: with ``login`` for :data:`USER` alone, with a ``certificate``
    and its key behind TLS. The command ``before`` it may have it run in another network, to which
    ``connect`` leads."""
    with socket.socket() as free:
        free.bind((address, 0))
        port = free.getsockname()[1]
    host = f"{address}:{port}"
    http: dict[str, object] = {"addr": host, "secret": "of tests"}
    if certificate is not None:
        http["tls"] = {"certificate": str(certificate[0]), "key": str(certificate[1])}
    config: dict[str, object] = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": http,
    }
    folder.mkdir(parents=True, exist_ok=True)
    if login:
        (folder / "htpasswd").write_text(_HTPASSWD)
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}}
    (folder / "config.yml").write_text(json.dumps(config))
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(
            [*before, PROGRAM, "serve", str(folder / "config.yml")], stdout=log, stderr=log
        )
    try:
        _wait_for(lambda: connect((address, port)), running, folder / "log")
        yield Registry(host, folder)
    finally:
        running.terminate()
        running.wait(10)


def _wait_for(
    connect: Callable[[], socket.socket], running: subprocess.Popen[bytes], log: Path
) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            connect().close()
        except OSError:
            assert running.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the registry does not answer"
            time.sleep(0.05)
        else:
            return


@contextmanager
def slow_way_to(registry: Registry, bytes_per_second: int) -> Iterator[Registry]:
    """Yield ``registry`` at an address from which its bytes come slowly."""
    stopped = threading.Event()

    def carry(source: socket.socket, sink: socket.socket, pause: float) -> None:
        with suppress(OSError):
            while (chunk := source.recv(_CHUNK)) and not stopped.wait(pause):
                sink.sendall(chunk)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def answer() -> None:
        while True:
            try:
                near, _ = way.accept()
            except OSError:
                return
            host, _, port = registry.host.partition(":")
            far = socket.create_connection((host, int(port)))
            pause = _CHUNK / bytes_per_second
            threading.Thread(target=carry, args=(near, far, 0), daemon=True).start()
            threading.Thread(target=carry, args=(far, near, pause), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as way:
        threading.Thread(target=answer, daemon=True).start()
        try:
            yield Registry(f"127.0.0.1:{way.getsockname()[1]}", registry.folder)
        finally:
            stopped.set()


def made_certificate(folder: Path, address: str) -> tuple[Path, Path]:
    """Make a certificate of one's own for ``address`` in ``folder``; return it and its key."""
    certificate, key = folder / "registry.crt", folder / "registry.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=tests", "-addext"]
    command += [f"subjectAltName=IP:{address}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def logged_in(folder: Path, host: str) -> Path:
    """Write into ``folder`` what ``docker login`` keeps, and return it: for ``DOCKER_CONFIG``."""
    folder.mkdir(parents=True, exist_ok=True)
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": token}}}))
    return folder


def with_helper(folder: Path, host: str) -> Path:
    """Write a credential helper into ``folder``, and the config that names it; return the folder:
    for ``PATH`` and ``DOCKER_CONFIG``."""
    folder.mkdir(parents=True, exist_ok=True)
    answer = json.dumps({"ServerURL": host, "Username": USER, "Secret": PASSWORD})
    helper = folder / "docker-credential-tests"
    helper.write_text(f"#!/bin/sh\nread server\ncat <<'END'\n{answer}\nEND\n")
    helper.chmod(0o755)
    (folder / "config.json").write_text(json.dumps({"credHelpers": {host: "tests"}}))
    return folder


def made_image(
    client: DockerClient,
    expected: ExpectedImage,
    *,
    architecture: str = "",
    labels: Mapping[str, str] | None = None,
    Env: Sequence[str] = (),  # noqa: N803 - as images have it
    **config: object,
) -> str:
    """Load an image of the recipe into the engine, with a megabyte that no other has, but for some
    changes; return its id."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        entry = tarfile.TarInfo("noise")
        entry.size = 1 << 20
        tar.addfile(entry, io.BytesIO(os.urandom(entry.size)))
    layer = hashlib.sha256(content.getvalue()).hexdigest()
    base = {expected.base_label: f"debian-packages:bookworm@sha256:{layer}"}
    changed = {name for name, _, _ in (one.partition("=") for one in Env)}
    variables = [f"{name}={value}" for name, value in expected.variables.items()]
    described = {
        "architecture": architecture or expected.platform.partition("/")[2],
        "os": expected.platform.partition("/")[0],
        "config": {
            "Env": [one for one in variables if one.partition("=")[0] not in changed] + [*Env],
            "Cmd": list(expected.command),
            "Labels": {**expected.labels, **base, **(labels or {})},
            **config,
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}"]},
    }
    return str(_loaded(client, described, content.getvalue(), f"{MADE}:{layer[:12]}").id)


def holding(client: DockerClient, label: str, value: str) -> Image:
    """Load an empty image with a label, whatever its value."""
    content = io.BytesIO()
    tarfile.open(fileobj=content, mode="w").close()
    layer = hashlib.sha256(content.getvalue()).hexdigest()
    described = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Labels": {label: value}},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}"]},
    }
    return _loaded(client, described, content.getvalue(), f"{MADE}:statement")


def _loaded(client: DockerClient, described: object, layer: bytes, name: str) -> Image:
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    files: dict[str, Path | bytes] = {
        "config.json": json.dumps(described).encode(),
        "layer.tar": layer,
        "manifest.json": json.dumps(manifest).encode(),
    }
    client.images.load(b"".join(tar_stream(files)))
    return client.images.get(name)
