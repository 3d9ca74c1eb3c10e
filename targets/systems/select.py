"""Decides where steps run, before anything is fetched: in containers or a virtual environment.

docker-py takes a quarter of a second to import, so modules that need it are imported on use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from targets.errors import EngineElsewhere, EnvironmentUnable
from targets.machine import require_instructions
from targets.runtimes.interrupts import interruptible
from targets.runtimes.platform import Choice
from targets.runtimes.runtime import PLACES, Runtime, RuntimeName
from targets.systems.find import Elsewhere, engine_of_environment
from targets.toolchain.platforms import native, or_venv
from targets.toolchain.registry.settings import RegistrySettings
from targets.toolchain.toolchain import Toolchain

if TYPE_CHECKING:
    from targets.runtimes.containers import Containers


HERE = "this command runs its steps on this one"
"""Of commands that measure something here, talk to a step or vouch for it (``Chooser.stays``)."""


def _decided(elsewhere: Elsewhere, toolchains: Sequence[Toolchain]) -> Decision:
    system = elsewhere.system
    try:
        why = "; ".join(dict.fromkeys(system.require(toolchain) for toolchain in toolchains))
    except EnvironmentUnable as unable:
        return Decision(None, str(unable), unable.hint, system.where)
    note = system.limits_note()
    return Decision(system.runtime, f"{why}; {note}" if note else why, system=system.where)


@dataclass(frozen=True)
class Decision:
    """Where steps run, and why."""

    runtime: RuntimeName | None
    """``None`` if they cannot run."""
    why: str
    remedy: str = ""
    """What to do so that they run in containers."""
    system: str = ""
    """Where that is, in words; empty for this machine."""

    def __str__(self) -> str:
        if self.runtime is None:
            location = f"nowhere on {self.system}" if self.system else "nowhere here"
        else:
            on = f" on {self.system}" if self.system else ""
            location = f"in {PLACES[self.runtime]}{on}"
        return f"{location}: {self.why}"


class Chooser:
    """Decides where the steps of a command run. Connects to an engine on first use."""

    def __init__(
        self,
        requested: Choice,
        cache: Path,
        elsewhere: Elsewhere | None = None,
        registry: RegistrySettings | None = None,
        stays: str = "",
    ) -> None:
        """``elsewhere`` is the system that the user has chosen. ``registry`` may have images that
        are not on this machine. ``stays`` is why steps may run on this machine only, in words, also
        where the environment names an engine that is elsewhere."""
        self._elsewhere = elsewhere
        self._requested = requested
        self._cache = cache
        self._registry = registry
        self._stays = stays
        self._containers: Containers | None = None
        self._unable: EnvironmentUnable | None = None
        self._said: set[str] = set()
        self._lock = Lock()  # the doctor asks from several threads

    def decide(self, toolchains: Sequence[Toolchain]) -> Decision:
        """Return where steps of ``toolchains`` run. Nothing is fetched or built.

        In containers if there is a usable engine that has their images or can build them; else in a
        virtual environment, unless the user requested ``docker``. Nowhere on a CPU that the
        toolchains do not support. An engine that is elsewhere is used as a system is.
        """
        elsewhere = self.elsewhere()
        if elsewhere is not None and elsewhere.chosen:
            return _decided(elsewhere, toolchains)
        try:
            require_instructions()
        except EnvironmentUnable as unable:
            return Decision(None, str(unable), unable.hint)
        if self._requested == "venv":
            return Decision("venv", "it was asked for")
        if elsewhere is not None:
            decision = _decided(elsewhere, toolchains)
            return decision if decision.runtime is not None else self._without(decision, toolchains)
        try:
            return Decision("docker", self.containers().require(toolchains))
        except EnvironmentUnable as unable:
            return self._without(Decision(None, str(unable), unable.hint), toolchains)

    def _without(self, refused: Decision, toolchains: Sequence[Toolchain]) -> Decision:
        """Return where steps run for which there are no containers, as ``refused`` says."""
        all_native = all(toolchain.platform == native() for toolchain in toolchains)
        if all_native and self._requested == "auto":
            return Decision("venv", refused.why, refused.remedy)
        return refused

    def start(self, toolchains: Sequence[Toolchain], say: Callable[[str], None]) -> Runtime:
        """Return the runtime for steps of ``toolchains``.

        ``say`` gets the reason if it is a virtual environment. Images that a registry has are
        pulled now, and the base of those that have to be built is made; if that fails, the build
        continues in a virtual environment. Raises ``EnvironmentUnable`` if steps cannot run.
        """
        decision = self.decide(toolchains)
        elsewhere = self.elsewhere()
        if elsewhere is not None and decision.system and decision.runtime is not None:
            from targets.systems.system_runtime import SystemRuntime

            return SystemRuntime(elsewhere.system, elsewhere.notes, say, detach=elsewhere.detach)
        if decision.runtime == "docker":
            try:
                return self._start_containers(toolchains, say)
            except EnvironmentUnable as unable:
                if self._requested == "docker":
                    raise
                self._unable = unable
                decision = self.decide(toolchains)
        if decision.runtime is None:
            raise EnvironmentUnable(decision.why, decision.remedy)
        line = f"steps run {decision}"
        if self._requested == "auto" and line not in self._said:
            self._said.add(line)
            say(line)
        from targets.runtimes.venv import VenvRuntime

        return VenvRuntime(self._cache)

    def ready(self, toolchain: Toolchain) -> Runtime | None:
        """Return the runtime of ``toolchain``'s steps; ``None`` if something would have to be
        fetched or made for it first, or it is elsewhere."""
        if self.elsewhere() is not None:
            return None
        decision = self.decide([toolchain])
        runtime: Runtime
        if decision.runtime == "docker":
            from targets.runtimes.docker import DockerRuntime

            containers = self.containers()
            runtime = DockerRuntime(containers.client, self._cache, registry=containers.registry)
        elif decision.runtime == "venv":
            from targets.runtimes.venv import VenvRuntime

            runtime = VenvRuntime(self._cache)
        else:
            return None
        return None if runtime.needs(toolchain) else runtime

    def elsewhere(self) -> Elsewhere | None:
        """Return where steps run if not on this machine: what was chosen, or the engine that the
        environment names, if it does not see this machine's folders and steps may run there."""
        if self._elsewhere is not None or self._requested == "venv":
            return self._elsewhere
        named = self._named
        if named is None or not self._stays:
            return named
        self._unable = EnvironmentUnable(
            "the engine that DOCKER_HOST or a context of Docker's tools names is another machine's "
            f"({named.system.where}), and {self._stays}",
            or_venv("name an engine of this machine: `docker context use default`"),
        )
        return None

    @cached_property
    def _named(self) -> Elsewhere | None:
        return engine_of_environment(self._cache, self._sees_folders, self._registry)

    def _sees_folders(self) -> bool:
        """Return whether the engine sees this machine's folders, or is of no use at all."""
        try:
            self.containers()
        except EngineElsewhere:
            return False
        except EnvironmentUnable:
            return True
        return True

    def containers(self) -> Containers:
        """Return the engine, connecting once. Raises ``EnvironmentUnable`` if none can be used."""
        from targets.runtimes.containers import Containers

        with self._lock:
            if self._unable is not None:
                raise self._unable
            if self._containers is None:
                try:
                    self._containers = Containers(self._cache, self._registry)
                except EnvironmentUnable as unable:
                    self._unable = unable
                    raise
            return self._containers

    def _start_containers(
        self, toolchains: Sequence[Toolchain], say: Callable[[str], None]
    ) -> Runtime:
        from targets.runtimes.docker import DockerRuntime

        containers = self.containers()
        with interruptible():
            containers.fetch(toolchains, say)
        return DockerRuntime(containers.client, self._cache, registry=containers.registry)
