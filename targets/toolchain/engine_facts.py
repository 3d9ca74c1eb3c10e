"""What an engine is: Docker's or Podman, its version, and which limits it does not enforce."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from docker import DockerClient

_DOCKER = "Docker Engine"
_PODMAN = "Podman"
_HEADER = "Libpod-Api-Version"
"""With this header Podman answers a ping, and nobody else does."""
_PODMANS_OWN = "/v4.0.0/libpod/info"
"""The address where Podman says which cgroup controllers it may use."""

_LIMITS = {
    "memory": ("memory", "MemoryLimit"),
    "cpu": ("CPUs", "CpuCfsQuota"),
    "pids": ("processes", "PidsLimit"),
}
"""By cgroup controller: what it limits, and Docker's name in its ``info`` for being able to."""


@dataclass(frozen=True)
class EngineFacts:
    """What an engine says about itself."""

    name: str
    """``Docker Engine`` or ``Podman``."""
    version: str
    api: str
    rootless: bool
    """Whether it runs without root: root inside of its containers is its user outside."""
    unenforced: tuple[str, ...]
    """What it accepts limits of and does not enforce: ``memory``, ``CPUs``, ``processes``."""
    info: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What it says of its machine, as ``docker info`` shows it."""

    @property
    def is_podman(self) -> bool:
        """Return whether it is Podman, which answers Docker's requests in ways of its own."""
        return self.name == _PODMAN

    @property
    def titled(self) -> str:
        """Return its name for the middle of a sentence."""
        return self.name if self.is_podman else f"the {self.name}"

    @property
    def known_as(self) -> str:
        """Return its version, for reports: with its name where that is not Docker's."""
        return f"{self.name} {self.version}" if self.is_podman else self.version

    @property
    def unconfined(self) -> str:
        """Return what it does not enforce, for reports; empty if it enforces all."""
        return f"limits of {', '.join(self.unenforced)}" if self.unenforced else ""

    @property
    def limits_note(self) -> str:
        """Return which limits it does not enforce, as a sentence; empty if it enforces all."""
        if not self.unenforced:
            return ""
        name = f"rootless {self.name}" if self.rootless else self.name
        return f"{name} {self.version} accepts {self.unconfined} and does not enforce them"


def facts_of(client: DockerClient) -> EngineFacts:
    """Return what the engine says about itself."""
    headers = _ping(client)
    podmans = headers.get(_HEADER, "")
    info = client.info()
    security = info.get("SecurityOptions") or []
    # Podman 4.3 has it under a name of its own only.
    rootless = "name=rootless" in (option.partition(",")[0] for option in security)
    rootless = rootless or bool(info.get("Rootless"))
    controllers = _delegated(client) if podmans and rootless else _controllers(info)
    return EngineFacts(
        name=_PODMAN if podmans else _DOCKER,
        version=podmans or str(info["ServerVersion"]),
        api=headers.get("Api-Version", ""),
        rootless=rootless,
        unenforced=tuple(_lacking(controllers)),
        info=info,
    )


def podmans_version(client: DockerClient) -> str:
    """Return the version of an engine that is Podman; empty if it is not.

    It is asked what costs it nothing: for its ``version`` and ``info`` Podman looks through the
    machine's packages.
    """
    return _ping(client).get(_HEADER, "")


def _ping(client: DockerClient) -> Mapping[str, str]:
    """Return the headers of an engine's answer to a ping."""
    answer = client.api.get(f"{client.api.base_url}/_ping", timeout=client.api.timeout)
    headers: Mapping[str, str] = answer.headers
    return headers


def _controllers(info: Mapping[str, Any]) -> Iterable[str]:
    """Return the cgroup controllers that an engine uses, by what it says it can limit."""
    if info.get("CgroupDriver") == "none":
        return ()
    return tuple(name for name, (_, flag) in _LIMITS.items() if info.get(flag, True))


def _delegated(client: DockerClient) -> Iterable[str]:
    """Return the cgroup controllers that a rootless Podman may use. To a Docker client it says that
    it enforces limits, whether it can or not."""
    answer = client.api.get(f"{client.api.base_url}{_PODMANS_OWN}", timeout=client.api.timeout)
    answer.raise_for_status()
    return tuple(answer.json()["host"].get("cgroupControllers") or ())


def _lacking(controllers: Iterable[str]) -> Iterator[str]:
    able = set(controllers)
    yield from (words for name, (words, _) in _LIMITS.items() if name not in able)
