"""Connects to the Docker Engine or Podman, and interprets its errors."""

from __future__ import annotations

import json
import sys
import tarfile
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import docker
from docker import DockerClient
from docker.constants import MINIMUM_DOCKER_API_VERSION
from docker.errors import APIError, DockerException, InvalidVersion, NotFound
from docker.types import Mount
from requests.exceptions import RequestException, Timeout

from targets.errors import EngineElsewhere, EnvironmentUnable
from targets.toolchain.engine_address import engine_address
from targets.toolchain.engine_facts import podmans_version
from targets.toolchain.platforms import or_venv
from targets.toolchain.run_tool import DISK_FULL

OLDEST_API = (1, 41)
"""Docker Engine 20.10, what Debian 12 ships."""

_OWN_SOCKET = "http+docker://localhost"
"""docker-py's URL of an engine that it reaches through a Unix socket."""

ANSWER_SECONDS = 10
REQUEST_SECONDS = 60

_NO_IMAGE = "quern/no-such-image"
_NO_INIT = "container-init binary not found"
_ANY_API = "1.41"
"""A version for a client that asks which the engine speaks, and nothing else."""
_REGISTRIES = ("docker.io/", "localhost/")
_NOT_THERE = ("FileNotFoundError", "No such file", "cannot find the file")
"""How errors say that there is no socket and, on Windows, no named pipe."""


def connect() -> DockerClient:
    """Return a client of the engine that ``DOCKER_HOST`` or the active CLI context names, or else
    of one that :func:`targets.toolchain.engine_address.engine_address` finds.

    Raises ``EnvironmentUnable`` with the reason if Quern cannot use one.
    """
    address = engine_address()
    try:
        server = _client(address, _ANY_API).version(api_version=False)
        client = _client(address, str(server["ApiVersion"]))
        api = tuple(int(part) for part in str(server["ApiVersion"]).split("."))
        system = str(server["Os"])
    except (DockerException, RequestException, OSError, ValueError, KeyError) as error:
        raise _unusable(error) from error
    if api < OLDEST_API:
        client.close()
        raise _too_old(f"API {server['ApiVersion']}")
    if system != "linux":
        client.close()
        raise EnvironmentUnable(
            f"the Docker Engine runs {system} containers",
            or_venv("switch it to Linux containers"),
        )
    client.api.timeout = REQUEST_SECONDS
    return client


def _client(address: str | None, api: str) -> DockerClient:
    """Return a client that speaks the version ``api``. Asks the engine nothing."""
    if address is None:
        client = docker.from_env(timeout=ANSWER_SECONDS, version=api)
    else:
        client = DockerClient(address, timeout=ANSWER_SECONDS, version=api)
    # REQUESTS_CA_BUNDLE would be taken in place of the authority that DOCKER_CERT_PATH has.
    # https://requests.readthedocs.io/en/latest/user/advanced/#ssl-cert-verification
    client.api.trust_env = False
    return client


def import_image(client: DockerClient, tar: Iterable[bytes], changes: Sequence[str]) -> str:
    """Import a file system as an image and return its id. Name it afterwards: Podman does not heed
    the name's tag here."""
    said = client.api.import_image_from_stream(iter(tar), changes=list(changes))
    return str(json.loads(said.strip().splitlines()[-1])["status"])


def short_tags(tags: Iterable[str]) -> Iterator[str]:
    """Yield the tags of an image as they were given; Podman puts a registry before each."""
    for tag in tags:
        prefix = next((name for name in _REGISTRIES if tag.startswith(name)), "")
        yield tag.removeprefix(prefix)


def lacks_init(error: APIError) -> bool:
    """Return whether the engine has no program to be the first in a container."""
    return _NO_INIT in reason(error)


def no_init(error: APIError) -> EnvironmentUnable:
    """Return the error for an engine that has none."""
    return EnvironmentUnable(
        f"Podman has no init for its containers ({reason(error)})",
        or_venv("`apt-get install catatonit`"),
    )


def platform_of(client: DockerClient) -> str:
    """Return the platform of the engine's containers: ``linux/amd64``."""
    server = client.version()
    return f"{server['Os']}/{server['Arch']}"


def data_root(client: DockerClient) -> Path | None:
    """Return the folder in which the engine keeps images; ``None`` if on another machine."""
    if client.api.base_url != _OWN_SOCKET:
        return None
    root = Path(client.info()["DockerRootDir"])
    try:
        return root if root.exists() else None
    except PermissionError:
        return None


def require_shared_folders(client: DockerClient, folder: Path) -> None:
    """Raise ``EnvironmentUnable`` if the engine cannot mount files below ``folder``.

    An engine on another machine, or outside of the container that this process is in, cannot. No
    container runs for this test, and Docker's engine creates none: it checks mounts before it looks
    for the image (``verifyContainerSettings`` comes first in
    https://github.com/moby/moby/blob/v20.10.24/daemon/create.go), and the image does not exist.
    """
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    with _fresh_folder(existing) as seen_here:
        mount = Mount("/seen", seen_here, "bind", read_only=True)
        try:
            if podmans_version(client):
                _look_through_podman(client, mount)
                return
            client.api.create_container(
                _NO_IMAGE, host_config=client.api.create_host_config(mounts=[mount])
            )
        except APIError as error:
            if error.status_code == HTTPStatus.NOT_FOUND:
                return
            absent = "does not exist" in reason(error)
            elsewhere = "it is another machine's, or not in the same container"
            unable = EngineElsewhere if absent else EnvironmentUnable
            raise unable(
                f"the engine cannot mount what is in {existing}: "
                f"{elsewhere if absent else reason(error)}",
                or_venv(
                    "use an engine that runs here: see DOCKER_HOST and `docker context ls`; where "
                    "it shares some folders, name one with `--cache`"
                ),
            ) from error


def _look_through_podman(client: DockerClient, mount: Mount) -> None:
    """Raise ``APIError`` if Podman does not see a file in the folder of ``mount``.

    It looks for the image before the mounts, and makes folders that are not there: so a container
    without files gets the mount, and the file is asked for there.
    """
    (Path(mount["Source"]) / "seen").touch()
    nothing = b"\0" * tarfile.RECORDSIZE  # a tar's end
    image = import_image(client, [nothing], [f"LABEL quern.probe={uuid.uuid4().hex}"])
    try:
        host_config = client.api.create_host_config(mounts=[mount])
        made = client.api.create_container(image, "/none", host_config=host_config)["Id"]
        try:
            client.api.get_archive(made, f"{mount['Target']}/seen")
        except NotFound as error:
            raise APIError(f"{mount['Source']} does not exist there") from error
        finally:
            client.api.remove_container(made)
    finally:
        client.api.remove_image(image, force=True)


@contextmanager
def _fresh_folder(parent: Path) -> Iterator[str]:
    try:
        folder = tempfile.TemporaryDirectory(dir=parent, prefix=".quern-")
    except OSError as error:
        raise EnvironmentUnable(
            f"nothing can be written to {parent}: {error.strerror}",
            "choose another folder with `--cache`",
        ) from error
    with folder as name:
        yield name


def _too_old(what: str) -> EnvironmentUnable:
    return EnvironmentUnable(
        f"the Docker Engine is too old ({what})",
        or_venv("Quern needs Docker Engine 20.10 (API 1.41) or newer"),
    )


def _unusable(error: Exception) -> EnvironmentUnable:
    text = str(error)
    if isinstance(error, InvalidVersion):
        return _too_old(f"API below {MINIMUM_DOCKER_API_VERSION}")
    if "Read timed out" in text:
        return EnvironmentUnable(
            f"the Docker Engine has not answered for {ANSWER_SECONDS} s",
            or_venv("restart it"),
        )
    if "paramiko" in text:
        return EnvironmentUnable(
            "the Docker Engine is another machine's, reached through SSH",
            or_venv("use one that runs here (`docker context use default`)"),
        )
    if "Permission denied" in text or "PermissionError" in text:
        return EnvironmentUnable(
            "no permission to use the Docker Engine",
            or_venv(
                "add yourself to the group that owns its socket: `sudo usermod -aG docker $USER`, "
                "then log in again"
            ),
        )
    if any(words in text for words in _NOT_THERE):
        return EnvironmentUnable("no Docker Engine is installed or running", or_venv(_install()))
    return EnvironmentUnable(
        f"no Docker Engine answers ({_short(text)})",
        or_venv("start it, or check DOCKER_HOST and `docker context ls`"),
    )


def _install() -> str:
    """Return how one gets an engine on this system."""
    match sys.platform:
        case "darwin":
            return (
                "install and start one: Docker Desktop, or `brew install colima docker` and "
                "`colima start`"
            )
        case "win32":
            return "install Docker Desktop, start it, and have it run Linux containers"
        case _:
            return (
                "install one, e.g. `apt-get install docker.io`, or start Podman's, "
                "`systemctl --user enable --now podman.socket`"
            )


def _short(text: str) -> str:
    """Return the innermost cause of a requests error, which nests its causes in parentheses."""
    line = " ".join(text.split())
    return line if len(line) <= 160 else f"{line[:157]}..."


def reason(error: Exception) -> str:
    """Return the engine's error message, without the address of the request."""
    if isinstance(error, APIError):
        return str(error.explanation or error)
    return _short(str(error))


def full_disk(why: str, doing: str, log: Path | None = None) -> EnvironmentUnable | None:
    """Return the error for a full disk of the engine, if ``why`` says so."""
    if DISK_FULL.lower() not in why.lower():
        return None
    return EnvironmentUnable(
        f"the Docker Engine's disk is full ({doing})",
        "free some space, e.g. `docker image prune`, and run again",
        log,
    )


def answers(client: DockerClient, seconds: float) -> bool:
    """Return whether the engine answers within ``seconds``. Other threads may use the client."""
    try:
        return bool(client.api.get(f"{client.api.base_url}/_ping", timeout=seconds).ok)
    except (RequestException, DockerException):
        return False


def is_silent(error: Exception) -> bool:
    """Return whether ``error`` says that the engine did not answer, though it is there."""
    return isinstance(error, Timeout) or "timed out" in str(error)


@contextmanager
def request_timeout(client: DockerClient, seconds: int) -> Iterator[None]:
    """Context in which requests have a time limit of ``seconds``; docker-py has one per client."""
    before = client.api.timeout
    client.api.timeout = seconds
    try:
        yield
    finally:
        client.api.timeout = before
