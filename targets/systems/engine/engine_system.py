"""The system of type ``docker``: steps run in containers of another machine's engine."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, cast

from docker import DockerClient
from docker.errors import APIError
from docker.types import LogConfig, Mount

from pipeline.contract.plan import unfinished_root
from targets.devices import cuda
from targets.devices.device import CPU, Device
from targets.errors import EnvironmentUnable
from targets.machine import lacking
from targets.runtimes.confinement import HOME, confinement, limits
from targets.runtimes.docker import remove
from targets.runtimes.process_environment import (
    host_ca_bundle,
    network_environment,
    plain_environment,
    proxy_on_this_machine,
)
from targets.runtimes.runtime import ProcessLimits, RuntimeName
from targets.runtimes.served_images import ServedImages
from targets.systems.engine.address import EngineAddress
from targets.systems.engine.images import (
    Seen,
    any_image,
    build_image,
    look,
    output_of,
    send_base,
    send_image,
    sent_image,
)
from targets.systems.engine.inputs import remove_unneeded, send, whole_volumes
from targets.systems.engine.job import (
    JOB_LABEL,
    MARK_LABEL,
    OWN,
    WORK,
    EngineJob,
    container_of,
    remove_ownerless,
)
from targets.systems.engine.keeper import kept
from targets.systems.engine.link import Link
from targets.systems.engine.unfinished import FOLDER, remove_abandoned, unfinished_volumes
from targets.systems.job_notes import JobNotes
from targets.systems.room import require_room
from targets.systems.system import Say
from targets.systems.task import Material, Task
from targets.systems.tree import TAR_END, folder_entry, small_file_entry, total
from targets.toolchain.engine import platform_of, reason, request_timeout
from targets.toolchain.engine_facts import EngineFacts, facts_of
from targets.toolchain.image import (
    PYTHON,
    Image,
    find_image,
)
from targets.toolchain.registry.image_registry import ImageRegistry
from targets.toolchain.registry.settings import RegistrySettings
from targets.toolchain.toolchain import Toolchain, ToolchainRecord

_ROOTS = "/quern"
_CODE = "/opt/quern-pipeline"
_USER = 10001
"""User and group of a job there: nobody, and never root."""
_LOG = LogConfig(type="local", config={"max-size": "32m", "max-file": "4"})
"""Of what a job writes so much is kept. Events take a few hundred bytes each."""
_PODMANS_LOG = LogConfig(type="k8s-file", config={"max-size": "128m"})
"""The same of Podman, which has no log of Docker's name."""
_COLLECT_SECONDS = 7 * 24 * 3600
"""How long a detached job waits, once it has ended, for somebody to fetch what it made."""
_MARGIN = 64 * 10**6
"""Bytes that must be free there beyond what is sent and made."""
_SEND_SECONDS = 600
_ALL_GPUS = [{"count": -1, "capabilities": [["gpu", "utility"]]}]


@dataclass(frozen=True)
class EngineFound:
    """An engine elsewhere and its machine, as they were found."""

    version: str
    cores: int
    memory: int
    """Bytes."""
    seen: Seen | None
    """What a container there sees; ``None`` while the engine has no image to run one of."""
    runs_gpus: bool
    """Whether it can give containers NVIDIA's GPUs."""
    gpus: cuda.Gpus | None


@dataclass(frozen=True)
class Volumes:
    """Volumes that a job has beside its own."""

    inputs: Mapping[str, str]
    """What it may read, by digest."""
    unfinished: Mapping[str, str]
    """What steps can go on with, by the names of their roots."""


class EngineSystem:
    """An engine of another machine, or one that sees no folder of this one."""

    runtime: Final[RuntimeName] = "docker"

    def __init__(
        self,
        name: str,
        address: EngineAddress,
        cache: Path,
        lease_seconds: float = 180,
        python: str = PYTHON,
        registry: RegistrySettings | None = None,
    ) -> None:
        """``lease_seconds`` is how long a job lives there that nobody asks after. ``registry`` may
        have images that the engine pulls."""
        self.name = name
        self._address = address
        self._cache = cache
        self._lease_seconds = lease_seconds
        self._python = python
        self._registry = None if registry is None else ImageRegistry(registry)
        self._link = Link(name, address, lease_seconds)
        self._seen: Seen | None = None
        self._submitted: dict[str, EngineJob] = {}

    @property
    def where(self) -> str:
        """Return its name and address."""
        return f"{self.name} ({self._address.url})"

    def close(self) -> None:
        """Close the connection."""
        self._link.close()

    def require(self, toolchain: Toolchain) -> str:
        """Return whether its image is there."""
        client = self._usable_for(toolchain)
        if self._found(toolchain) is not None:
            return f"the image of {toolchain.target} is there"
        if self._registry is None:
            why = ""
        elif lack := ServedImages(client, self._registry).lack(toolchain):
            why = f" ({lack})"
        else:
            return f"the image of {toolchain.target} is in {self._registry.address}"
        return f"the image of {toolchain.target} is not there yet{why}, and is sent or built there"

    def prepare(self, toolchain: Toolchain, say: Say) -> ToolchainRecord:
        """Have the image there: pulled from the registry, sent from the engine of this machine, or
        built there."""
        self._usable_for(toolchain)
        image = (
            self._found(toolchain)
            or self._pulled(toolchain, say)
            or send_image(self._link, toolchain, self._registry, say)
            or build_image(self._link, toolchain, self._cache, say)
        )
        self._seen = self._link.again(lambda client: look(client, image.id, self._python))
        facts = self._link.again(facts_of)
        if absent := lacking(self._seen.flags):
            raise EnvironmentUnable(
                f"the CPU of {self.name} lacks {', '.join(absent)} of x86-64-v3, which the "
                "toolchains use",
                "use another system, or this machine: `--system local`",
            )
        return ToolchainRecord(
            digest=toolchain.digest,
            runtime="docker",
            python=toolchain.python,
            base_image=image.base,
            image=image.reference,
            details={"engine": facts.known_as, "kernel": str(facts.info["KernelVersion"])},
            system=self.name,
            cpu=self._seen.cpu,
            cores=int(facts.info["NCPU"]),
            unconfined=facts.unconfined,
        )

    def _usable_for(self, toolchain: Toolchain) -> DockerClient:
        """Return a client of the engine. Raises ``EnvironmentUnable`` if it runs another platform
        than that of ``toolchain``."""
        client = self._link.client()
        platform = self._link.again(platform_of)
        if platform != toolchain.platform:
            raise EnvironmentUnable(
                f"the engine of {self.name} runs {platform}, and the {toolchain.target} toolchain "
                f"is that of {toolchain.platform}",
                f'a system of the config with `platform = "{platform}"` plans for it',
            )
        return client

    def _found(self, toolchain: Toolchain) -> Image | None:
        found = self._link.again(lambda client: find_image(client, toolchain, self._registry))
        return found or sent_image(self._link, toolchain, self._registry)

    def _pulled(self, toolchain: Toolchain, say: Say) -> Image | None:
        """Have the engine pull the image; ``None``, and a line that says why, if it cannot."""
        registry = self._registry
        if registry is None:
            return None
        lack = self._link.at_length(
            lambda client: ServedImages(client, registry).pull(toolchain, say)
        )
        if lack:
            say(f"the image of {toolchain.target} is sent or built there: {lack}")
        return self._found(toolchain)

    def device(self, kind: str, toolchain: Toolchain) -> Device:
        """Return the device ``kind`` of the engine's machine, for use with ``toolchain``."""
        if kind == CPU:
            return Device(CPU, description=f"the CPU of {self.name}")
        if kind != cuda.KIND:
            return Device(kind, f"no engine can give a container on {self.name} this device")
        image = self._link.again(any_image) or send_base(self._link, toolchain)
        gpus = None if image is None else self._gpus(image)
        return cuda.device_of(gpus, toolchain, f"on {self.name}")

    def examine(self) -> EngineFound:
        """Look at the engine and its machine. Nothing is sent, and nothing stays there."""
        client = self._link.client()
        version, info = client.version(), client.info()
        image = any_image(client)
        return EngineFound(
            version=str(version["Version"]),
            cores=int(info["NCPU"]),
            memory=int(info["MemTotal"]),
            seen=None
            if image is None
            else self._link.again(lambda client: look(client, image, self._python)),
            runs_gpus=cuda.ENGINE_RUNTIME in info.get("Runtimes", {}),
            gpus=None if image is None else self._gpus(image),
        )

    def _gpus(self, image: str) -> cuda.Gpus | None:
        """Ask the driver there, in a container that gets all GPUs: the driver's own tool comes with
        them. Any image will do."""
        if cuda.ENGINE_RUNTIME not in self._link.client().info().get("Runtimes", {}):
            return None
        listing = self._link.again(
            lambda client: output_of(client, image, [*cuda.LIST], device_requests=_ALL_GPUS)
        )
        return cuda.listed_gpus(listing)

    def limits_note(self) -> str:
        """Return which limits the engine does not enforce: a rootless one may enforce none."""
        return self._link.again(facts_of).limits_note

    def job(self, job_id: str) -> EngineJob:
        """Return the job, which may be gone."""
        return self._submitted.get(job_id) or self._job(job_id)

    def _job(self, job_id: str) -> EngineJob:
        return EngineJob(self._link, job_id, self._lease_seconds, self._owner, self._python)

    @property
    def _owner(self) -> str:
        return JobNotes(self._cache).owner

    def has(self, tree: str) -> bool:
        """Return whether a volume has the tree whole."""
        return tree in self._link.again(whole_volumes)

    def submit(
        self, job_id: str, toolchain: Toolchain, task: Task, material: Material, say: Say
    ) -> EngineJob:
        """Send what is missing, and start the container."""
        image = self._found(toolchain)
        if image is None:
            raise EnvironmentUnable(
                f"the image of the {toolchain.target} toolchain is gone from {self.name}",
                "run the build again",
            )
        return self.submit_image(image.id, job_id, toolchain, task, material, say)

    def submit_image(
        self,
        image: str,
        job_id: str,
        toolchain: Toolchain,
        task: Task,
        material: Material,
        say: Say,
    ) -> EngineJob:
        """Start the job in a container of ``image``."""
        job = self._submitted[job_id] = self._job(job_id)
        try:
            if job.state().phase in ("running", "ended"):
                say(f"going on with the job {job_id} on {self.name}")
                return job
            job.cancel()  # one that was made and never started
            self._send(image, task, material, say)
            self._link.at_length(
                lambda client: self._start(client, image, job_id, toolchain, task, material)
            )
        except APIError as error:
            raise EnvironmentUnable(
                f"the engine of {self.name} refused: {reason(error)}", "`docker info` there"
            ) from error
        return job

    def _send(self, image: str, task: Task, material: Material, say: Say) -> None:
        """Send the inputs that are not there, if there is room."""
        needed = [task.code, *(part.digest for part in task.inputs)]
        there = self._link.again(whole_volumes)
        absent = [digest for digest in needed if digest not in there]
        if not {*absent} <= material.trees.keys():
            raise EnvironmentUnable(
                f"what an earlier step left on {self.name} was removed there",
                "run the build again: it makes that step anew",
            )
        trees = {digest: material.trees[digest] for digest in absent}
        space = total(trees.values()) + task.writes + _MARGIN
        seen = self._seen or self._link.again(lambda client: look(client, image, self._python))
        if seen.free < space:
            self._link.again(lambda client: remove_unneeded(client, needed))
            seen = self._link.again(lambda client: look(client, image, self._python))
        require_room(self.name, seen.free, space, "what the steps read, and what they make,")
        self._seen = None  # what is written now takes some of it
        if trees:
            send(self._link, image, self._python, trees, self._lease_seconds, say)

    def _start(
        self,
        client: DockerClient,
        image: str,
        job_id: str,
        toolchain: Toolchain,
        task: Task,
        material: Material,
    ) -> None:
        name = container_of(job_id)
        remove(client, name)  # a connection dropped before it was started
        inputs = whole_volumes(client)
        if not {task.code, *(part.digest for part in task.inputs)} <= inputs.keys():
            raise EnvironmentUnable(
                f"inputs were removed from {self.name} at that very moment", "run again"
            )
        remove_ownerless(client)
        remove_abandoned(client)
        resumable = [step.key for step in task.plan.steps if step.resumes]
        unfinished = {
            unfinished_root(key): volume
            for key, volume in unfinished_volumes(client, self._owner, resumable).items()
        }
        volumes = Volumes(inputs, unfinished)
        options = self._options(facts_of(client), volumes, job_id, toolchain, task, material)
        client.containers.create(image, name=name, **options)
        with request_timeout(client, _SEND_SECONDS):
            client.api.put_archive(name, OWN, _one(*_own_files(task, material)))
            for root in unfinished:
                client.api.put_archive(name, f"{_ROOTS}/{root}", _one(folder_entry(FOLDER, _USER)))
        client.api.start(name)

    def _options(
        self,
        facts: EngineFacts,
        volumes: Volumes,
        job_id: str,
        toolchain: Toolchain,
        task: Task,
        material: Material,
    ) -> dict[str, Any]:
        """Return the arguments of ``containers.create`` for a job."""
        mark = f"quern-ended {secrets.token_hex(8)}"
        roots = {part.root: f"{_ROOTS}/{part.root}" for part in task.inputs}
        roots = {**roots, "work": WORK, "objects": f"{_ROOTS}/objects"}
        roots |= {root: f"{_ROOTS}/{root}/{FOLDER}" for root in volumes.unfinished}
        arguments = [f"{OWN}/plan.json"]
        for root, path in sorted(roots.items()):
            arguments += ["--root", f"{root}={path}"]
        if _variables(task, material):
            arguments += ["--variables", f"{OWN}/variables.json"]
        longest = task.longest_seconds + _COLLECT_SECONDS
        run = (self._python, "-m", "pipeline", *arguments)
        resources = ProcessLimits(task.limits.memory_bytes, task.limits.cpus)
        return {
            "command": kept(self._python, self._lease_seconds, longest, mark, *run),
            "environment": {**plain_environment(HOME, _CODE), **task.environment},
            "labels": {JOB_LABEL: job_id, MARK_LABEL: mark, "quern.target": toolchain.target},
            "mounts": [
                Mount(OWN, None, "volume", labels={JOB_LABEL: job_id}),
                Mount(f"{_CODE}/pipeline", volumes.inputs[task.code], "volume", read_only=True),
                *(
                    Mount(
                        f"{roots[part.root]}/{part.path}".rstrip("/"),
                        volumes.inputs[part.digest],
                        "volume",
                        read_only=True,
                    )
                    for part in task.inputs
                ),
                *(
                    Mount(f"{_ROOTS}/{root}", volume, "volume")
                    for root, volume in volumes.unfinished.items()
                ),
            ],
            "user": f"{_USER}:{_USER}",
            "security_opt": ["no-new-privileges"],
            "network_mode": "bridge" if task.network else "none",
            "log_config": _PODMANS_LOG if facts.is_podman else _LOG,
            "auto_remove": True,
            **task.device,
            **confinement(),
            **limits(facts.info, resources),
        }


def _own_files(task: Task, material: Material) -> list[bytes]:
    """Return the entries of what only this job reads, and of the folder that it writes to."""
    work = WORK.removeprefix(f"{OWN}/")
    plan = task.plan.model_dump_json().encode()
    entries = [folder_entry(work, _USER), small_file_entry("plan.json", plan)]
    variables = _variables(task, material)
    if variables:
        # Not as the container's own variables, which everybody who asks the engine can read.
        content = json.dumps(variables).encode()
        entries.append(small_file_entry("variables.json", content, 0o400, _USER))
    bundle = host_ca_bundle() if task.network else None
    if bundle is not None:
        entries.append(small_file_entry("ca.crt", bundle.read_bytes()))
    return entries


def _variables(task: Task, material: Material) -> dict[str, str]:
    """Return the variables that only the process sees: secrets, and the way out of a network."""
    if not task.network:
        return dict(material.secrets)
    reach = network_environment(f"{OWN}/ca.crt" if host_ca_bundle() is not None else None)
    if proxy_on_this_machine(reach):  # nobody listens there
        reach = {name: value for name, value in reach.items() if "proxy" not in name.lower()}
    return {**reach, **material.secrets}


def _one(*entries: bytes) -> IO[bytes]:
    return cast("IO[bytes]", iter((*entries, TAR_END)))
