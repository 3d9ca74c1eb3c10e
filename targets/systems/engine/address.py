"""Addresses of engines: where they are, and what identifies both sides."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from docker import DockerClient
from docker.context import ContextAPI
from docker.errors import DockerException
from docker.tls import TLSConfig

from targets.errors import EnvironmentUnable
from targets.systems.tunnel import SshLogin
from targets.toolchain.engine import ANSWER_SECONDS

_SSH = re.compile(r"ssh://(?P<to>(?:[^@/]+@)?[^@/:]+)(?::(?P<port>\d+))?(?P<socket>/.+)?")
_SOCKET = "/var/run/docker.sock"
_TLS_FILES = ("ca.pem", "cert.pem", "key.pem")
_API = "1.41"
"""Asked for by number: a client that asks the engine for its own does so before it can be told to
look for no other certificates in the environment (``REQUESTS_CA_BUNDLE``)."""


@dataclass(frozen=True)
class SshPlace:
    """Who to log in as, and where the engine listens there."""

    login: SshLogin
    socket: str


@dataclass(frozen=True)
class EngineAddress:
    """An engine's address, as Docker's own tools write it."""

    url: str
    certificates: Path | None = None
    """Folder with ``ca.pem``, ``cert.pem`` and ``key.pem``, for TLS."""

    @property
    def ssh(self) -> SshPlace | None:
        """Return where SSH leads; ``None`` if it is not reached by SSH."""
        match = _SSH.fullmatch(self.url)
        return match and SshPlace(SshLogin(match["to"], match["port"]), match["socket"] or _SOCKET)

    def missing_files(self) -> tuple[Path, ...]:
        """Return the files of the certificates that are not there."""
        if self.certificates is None:
            return ()
        files = (self.certificates / name for name in _TLS_FILES)
        return tuple(file for file in files if not file.is_file())

    def client(self, socket: Path | None = None) -> DockerClient:
        """Return a client; through ``socket``, if SSH leads from there. Asks the engine nothing."""
        if socket is not None:
            return DockerClient(f"unix://{socket}", version=_API, timeout=ANSWER_SECONDS)
        missing = self.missing_files()
        if missing:
            raise EnvironmentUnable(
                f"{self.url} asks for certificates, and there is no {missing[0]}",
                "name the folder that holds ca.pem, cert.pem and key.pem",
            )
        client = DockerClient(self.url, version=_API, timeout=ANSWER_SECONDS, tls=self._tls())
        client.api.trust_env = False
        return client

    def _tls(self) -> TLSConfig | bool:
        if self.certificates is None:
            return False
        ca, certificate, key = (str(self.certificates / name) for name in _TLS_FILES)
        return TLSConfig(client_cert=(certificate, key), ca_cert=ca, verify=True)


def docker_certificates() -> Path:
    """Return the folder where Docker's own tools look for certificates."""
    named = os.environ.get("DOCKER_CERT_PATH")
    return Path(named) if named else Path.home() / ".docker"


def address_of_environment() -> EngineAddress | None:
    """Return the address that ``DOCKER_HOST`` or the active context of Docker's tools names;
    ``None`` for the socket of this machine."""
    url = os.environ.get("DOCKER_HOST", "")
    if url:
        verifies = os.environ.get("DOCKER_TLS_VERIFY") or os.environ.get("DOCKER_CERT_PATH")
        return EngineAddress(url, docker_certificates() if verifies else None)
    try:
        context = ContextAPI.get_current_context()
    except (DockerException, OSError, ValueError):
        return None
    if context is None or not context.Host:
        return None
    folder = context.TLSConfig and Path(str(context.TLSConfig.ca_cert)).parent
    return EngineAddress(context.Host, folder or None)
