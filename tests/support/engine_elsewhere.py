"""An engine of another machine, as seen from here: behind TLS or SSH, and a network that fails.

It is a ``dockerd`` of the test's own in a network of its own, so that nothing but a proxy leads to
it, through which every byte goes and which drops connections when a test wants it.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from docker import DockerClient

from tests.support.authority import Authority
from tests.support.capabilities import program, skip, skip_or_fail
from tests.support.gated_builds import Surroundings
from tests.support.own_engine import OwnEngine

_CLONE_NEWNET = 0x40000000
_PORT = 2376
_LOOPBACK_UP = """
import fcntl, os, socket, struct, sys
with socket.socket() as any:
    fcntl.ioctl(any, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up, running
os.execvp(sys.argv[1], sys.argv[1:])
"""


class EngineElsewhere(OwnEngine):
    """An engine that asks for certificates, reached through :attr:`proxy`."""

    name = "box"
    ended_there = "is gone from box: it was removed there"
    around = Surroundings()

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder
        self.socket = folder / "socket"
        self.authority = Authority(folder / "authority")
        self.certificates = self.authority.client("driver")
        server = self.authority.server("127.0.0.1")
        files = {"cacert": "ca.pem", "cert": "cert.pem", "key": "key.pem"}
        tls = [f"--tls{name}={server / file}" for name, file in files.items()]
        self.more_options = ["--tlsverify", *tls, "--host", f"tcp://127.0.0.1:{_PORT}"]
        self.before = ["unshare", "--net", sys.executable, "-c", _LOOPBACK_UP]
        self.proxy: Proxy

    def start(self) -> None:
        super().start()
        if not hasattr(self, "proxy"):
            self.proxy = Proxy(self._connected)

    def stop(self) -> None:
        if hasattr(self, "proxy"):
            self.proxy.close()
        super().stop()

    def _connected(self) -> socket.socket:
        return self.connected(("127.0.0.1", _PORT))

    def connected(self, address: tuple[str, int]) -> socket.socket:
        """Return a connection in the engine's network."""
        return _connected_within(self._pid, address)

    @property
    def beside(self) -> list[str]:
        """Return the command behind which another one runs in the engine's network."""
        return ["nsenter", f"--net=/proc/{self._pid}/ns/net"]

    @property
    def _pid(self) -> int:
        assert self._daemon is not None
        return self._daemon.pid

    def forget_inputs(self) -> None:
        """Remove all inputs, so that they are sent again."""
        for name in self.inputs():
            self.client.api.remove_volume(name)

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.proxy.port}"

    def left(self) -> list[str]:
        """Return the names of all containers, and of all volumes that are no inputs."""
        client: DockerClient = self.client
        volumes = [one.name for one in client.volumes.list() if "quern.input" not in _labels(one)]
        return sorted(map(str, [*self.left_containers(), *volumes]))

    def end_jobs(self) -> None:
        """Remove every container, as somebody else would who may."""
        for one in self.client.containers.list(all=True, ignore_removed=True):
            one.remove(force=True, v=True)

    def left_containers(self) -> list[str]:
        """Return the names of all containers."""
        found = self.client.containers.list(all=True, ignore_removed=True)
        return [str(one.name) for one in found]

    def inputs(self) -> list[str]:
        """Return the names of the volumes with inputs."""
        return [str(one.name) for one in self.client.volumes.list(filters={"label": "quern.input"})]

    def working(self) -> list[Path]:
        """Return the folders for temporary files of the steps that wait there."""
        volumes = self.folder / "data-root" / "volumes"
        return list(volumes.glob("*/_data/work/scratch.partial"))


def _labels(volume: object) -> dict[str, str]:
    return getattr(volume, "attrs", {}).get("Labels") or {}


class Proxy:
    """A port that leads to an engine, as long as a test wants."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._connect = connect
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._ends: list[socket.socket] = []
        self._through = threading.Event()
        self._through.set()
        self.sent = 0
        """Bytes that went to the engine."""
        self.received = 0
        self._once_sent: tuple[int, Callable[[], None]] | None = None
        self._drop_after_received: int | None = None
        self.dropped = 0
        """How often all connections were dropped."""
        threading.Thread(target=self._accept, daemon=True).start()

    def drop(self) -> None:
        """Cut every connection; new ones are let through."""
        self.dropped += 1
        ends, self._ends = self._ends, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def once_sent(self, more: int, do: Callable[[], None]) -> None:
        """Call ``do`` once so many more bytes were sent to the engine."""
        self._once_sent = (self.sent + more, do)

    def drop_after_received(self, received: int) -> None:
        """Cut every connection once so many more bytes came from the engine."""
        self._drop_after_received = self.received + received

    def block(self) -> None:
        """Cut every connection, and let no new one through."""
        self._through.clear()
        self.drop()

    def unblock(self) -> None:
        self._through.set()

    def close(self) -> None:
        self._listener.close()
        self.drop()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                inner, _ = self._listener.accept()
                if not self._through.is_set():
                    inner.close()
                    continue
                try:
                    outer = self._connect()
                except OSError:
                    inner.close()
                    continue
                self._ends += [inner, outer]
                for source, sink, out in ((inner, outer, True), (outer, inner, False)):
                    threading.Thread(
                        target=self._pump, args=(source, sink, out), daemon=True
                    ).start()

    def _pump(self, source: socket.socket, sink: socket.socket, out: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 18):
                if out:
                    self.sent += len(data)
                    if self._once_sent is not None and self.sent > self._once_sent[0]:
                        (_, do), self._once_sent = self._once_sent, None
                        do()
                else:
                    self.received += len(data)
                    limit = self._drop_after_received
                    if limit is not None and self.received > limit:
                        self._drop_after_received = None
                        self.drop()
                sink.sendall(data)
        for end in (sink, source):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _connected_within(pid: int, address: tuple[str, int]) -> socket.socket:
    """Return a connection in the network of the process ``pid``: a thread goes there for it."""
    made: list[socket.socket] = []

    def work() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            place = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        except OSError:  # it was killed
            return
        try:
            if libc.setns(place, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            made.append(socket.create_connection(address, timeout=5))
            made[0].settimeout(None)
        except OSError:
            pass
        finally:
            os.close(place)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if not made:
        raise ConnectionRefusedError
    return made[0]


class SshServer:
    """An ``sshd`` with a key of its own and one user's key, and settings for ``ssh`` that know it.

    ``ssh`` reads nothing else: a program of that name, first on the path, sees to it.
    """

    def __init__(self, folder: Path, settings: str = "") -> None:
        """``settings`` are more lines of ``sshd_config``."""
        if os.geteuid():
            skip("container", "this user may not start an sshd")
        folder.mkdir(mode=0o700)
        self._folder = folder
        for name in ("host", "user", "stranger"):
            self._key(name)
        shutil.copy(folder / "user.pub", folder / "authorized")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = self._shown_port = int(free.getsockname()[1])
        (folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\n"
            f"AuthorizedKeysFile {folder}/authorized\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n"
            f"PidFile {folder}/pid\n{settings}"
        )
        self.know_host("host")
        self.use_key("user")
        programs = folder / "bin"
        programs.mkdir()
        (programs / "ssh").write_text(
            f'#!/bin/sh\nexec {program("ssh", "ssh")} -F {folder}/config "$@"\n'
        )
        (programs / "ssh").chmod(0o755)
        self.path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        Path("/run/sshd").mkdir(exist_ok=True)
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [program("ssh", "/usr/sbin/sshd"), "-D", "-e", "-f", f"{self._folder}/sshd_config"],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 20
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.05)

    def drop(self) -> None:
        """End every session; new ones can be begun."""
        assert self._process is not None
        subprocess.run(["pkill", "-P", str(self._process.pid)], check=False)

    def stop(self) -> None:
        if self._process is not None:
            self.drop()
            self._process.terminate()
            self._process.wait(10)

    @property
    def login(self) -> str:
        return f"ssh://root@127.0.0.1:{self._shown_port}"

    def url(self, socket_path: Path) -> str:
        return f"{self.login}{socket_path}"

    def go_through(self, port: int) -> None:
        """Have ``ssh`` connect to ``port``, which leads to the server."""
        self._shown_port = port
        self.know_host("host")

    def know_host(self, name: str) -> None:
        """Have ``ssh`` expect the key ``name`` of the server; none if it is empty."""
        key = (self._folder / f"{name}.pub").read_text() if name else ""
        known = f"[127.0.0.1]:{self._shown_port} {key}" if key else ""
        (self._folder / "known").write_text(known)

    def use_key(self, name: str) -> None:
        """Have ``ssh`` log in with the key ``name``."""
        (self._folder / "config").write_text(
            f"IdentityFile {self._folder}/{name}\nIdentitiesOnly yes\nIdentityAgent none\n"
            f"UserKnownHostsFile {self._folder}/known\nGlobalKnownHostsFile /dev/null\n"
            "StrictHostKeyChecking yes\n"
        )

    def _key(self, name: str) -> None:
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._folder / name)],
            check=True,
        )


@contextmanager
def engine_elsewhere(python: Path) -> Iterator[EngineElsewhere]:
    """Yield an engine that runs, with the image of gated steps; it is removed afterwards."""
    with in_memory("1g") as folder:
        engine = EngineElsewhere(folder)
        engine.start()
        try:
            engine.make_image(python, folder / "base")
            yield engine
        finally:
            engine.stop()


@contextmanager
def in_memory(size: str) -> Iterator[Path]:
    """Yield a folder of at most ``size``, which no disk that others use makes slow."""
    folder = Path(tempfile.mkdtemp(prefix="quern-elsewhere-"))
    options = ["-t", "tmpfs", "-o", f"size={size}", "tmpfs"]
    try:
        if subprocess.run(["mount", *options, str(folder)], check=False).returncode:
            skip_or_fail("mount", "this user may not mount anything")
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def ssh_server(settings: str = "") -> Iterator[SshServer]:
    """Yield a server that runs; it is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="quern-sshd-"))
    try:
        server = SshServer(folder / "ssh", settings)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
