"""A Podman of a test's own: its service, with images and containers that nobody else sees."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import docker
import pytest
from docker.errors import DockerException
from requests.exceptions import RequestException

from targets.toolchain.engine import connect
from tests.support.capabilities import program, skip_or_fail

_PID_MAX = Path("/proc/sys/kernel/pid_max")


@contextlib.contextmanager
def podman_service(folder: Path, as_user: Sequence[str] = (), home: str = "/root") -> Iterator[str]:
    """Yield the address of a Podman whose all is below ``folder``; ``as_user`` is the command that
    runs another as the user of a rootless one, whose home is ``home``."""
    podman = program("Podman", "podman")
    runtime = program("Podman", "runc", "crun")
    folder.joinpath("containers.conf").write_text(_configuration(), encoding="utf-8")
    places = ["--root", str(folder / "root"), "--runroot", str(folder / "run")]
    log = (folder / "log").open("wb")
    service = subprocess.Popen(
        [
            *as_user, podman, *places, "--storage-driver", "overlay", "--runtime", runtime,
            "system", "service", "--time", "0", f"unix://{folder}/podman.sock",
        ],
        env={
            "PATH": os.environ["PATH"],
            "HOME": home,
            "XDG_RUNTIME_DIR": str(folder),
            "CONTAINERS_CONF": str(folder / "containers.conf"),
        },
        cwd=folder,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )  # fmt: skip
    address = f"unix://{folder}/podman.sock"
    try:
        _wait_for(address, service, folder / "log")
        yield address
    finally:
        _remove_all(address)
        service.send_signal(signal.SIGINT)
        service.wait(30)
        log.close()
        subprocess.run(["umount", "--lazy", folder / "root" / "overlay"], check=False,
                       capture_output=True)  # fmt: skip


def _configuration() -> str:
    """Return settings for machines on which nobody may raise limits, such as containers."""
    files = _most(resource.RLIMIT_NOFILE)
    processes = min(int(_PID_MAX.read_text()), _most(resource.RLIMIT_NPROC))
    return (
        "[containers]\ndefault_ulimits = ["
        f'"nofile={files}:{files}", "nproc={processes}:{processes}"]\n'
        '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
    )


def _most(limit: int) -> int:
    most = resource.getrlimit(limit)[1]
    return 2**20 if most == resource.RLIM_INFINITY else most


def _wait_for(address: str, service: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while service.poll() is None and time.monotonic() < deadline:
        try:
            docker.DockerClient(address).ping()
        except (DockerException, RequestException):
            time.sleep(0.1)
        else:
            return
    service.kill()
    skip_or_fail("Podman", f"its service does not start: {log.read_text()[-500:]}")


def _remove_all(address: str) -> None:
    with contextlib.suppress(DockerException, RequestException):
        client = docker.DockerClient(address)
        for container in client.containers.list(all=True):
            container.remove(force=True)


@contextlib.contextmanager
def own_podman() -> Iterator[docker.DockerClient]:
    """Yield a client of a Podman that is the engine of whatever starts meanwhile."""
    with (
        own_folder("quern-podman-") as folder,
        podman_service(folder) as address,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("DOCKER_HOST", address)
        patch.setattr("targets.toolchain.engine.ANSWER_SECONDS", 60)  # of a busy machine
        yield connect()


@contextlib.contextmanager
def own_folder(prefix: str) -> Iterator[Path]:
    """Yield a folder that other users may enter, unlike those of pytest; removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
