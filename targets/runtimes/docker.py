"""Runs a plan in a container of the toolchain's image, through the API of Docker or Podman."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from docker import DockerClient
from docker.errors import APIError, DockerException, NotFound
from docker.models.containers import Container
from docker.types import CancellableStream, LogConfig
from docker.types import Mount as Bind
from requests.exceptions import ConnectionError as EngineGone
from requests.exceptions import RequestException

from pipeline.process.exit_codes import signal_of
from targets.disk import Need
from targets.errors import EnvironmentUnable, Interrupted, QuernError
from targets.figures import duration
from targets.runtimes.confinement import HOME, confinement, limits, memory_limit
from targets.runtimes.container_input import fed
from targets.runtimes.driver import driver_of
from targets.runtimes.ending import Ending
from targets.runtimes.event_reader import EventReader
from targets.runtimes.heartbeat import PATIENCE, RESTART, SILENT, Heartbeat, while_answering
from targets.runtimes.interrupts import deferring_signals, interruptible
from targets.runtimes.lease import watched
from targets.runtimes.log import opened_log
from targets.runtimes.oom_kills import oom_kills
from targets.runtimes.podmans_device import podmans_device
from targets.runtimes.process_environment import (
    host_ca_bundle,
    network_environment,
    process_environment,
    proxy_on_this_machine,
)
from targets.runtimes.runtime import Mount, OnEvent, RunRequest, RuntimeName
from targets.runtimes.step_timer import StepTimer
from targets.runtimes.workspace import PIPELINE_DIR, Workspace, workspace
from targets.toolchain.engine import (
    answers,
    full_disk,
    is_silent,
    lacks_init,
    no_init,
    reason,
    request_timeout,
)
from targets.toolchain.engine_facts import EngineFacts, facts_of
from targets.toolchain.image import PYTHON, ensure_image, find_image, image_needs, mark_used
from targets.toolchain.platforms import or_venv
from targets.toolchain.registry.image_registry import ImageRegistry
from targets.toolchain.toolchain import Toolchain, ToolchainRecord

RUN_LABEL = "quern.run"

_ROOTS = "/quern"
_CODE = "/opt/quern-pipeline"
_PLAN = "/run/quern/plan.json"
_CA = "/run/quern/ca.crt"
_LEASE = "/run/quern/lease"
_VARIABLES = "/run/quern/variables.json"
_STOP_SECONDS = 2
_WAIT_SECONDS = 20
_STOPPED = ("SIGKILL", "SIGTERM")

_NO_GPU_RUNTIME = ("could not select device driver", "nvidia-container", "unresolvable CDI")
"""Messages of engines that cannot give a container the GPU: old ones, a broken runtime, CDI."""
_NO_CONTAINER = "no such container"
"""What Podman says, as an error of its own, where Docker's answers with 404."""
_ABOUT_FOLDERS = ("mount", "bind source path", "statfs")
"""Words of refusals that are about a folder to mount: Docker's, Docker's older ones, Podman's."""


class DockerRuntime:
    """Each run is one container: no network, no capabilities, a read-only root, the caller's uid.

    ``python`` is the interpreter's path inside, ``pipeline_dir`` the package's path outside;
    ``patience`` says after how many seconds an engine that does not answer is given up.
    """

    name: RuntimeName = "docker"

    def __init__(
        self,
        client: DockerClient,
        cache_dir: Path,
        pipeline_dir: Path = PIPELINE_DIR,
        python: str = PYTHON,
        patience: float = PATIENCE,
        registry: ImageRegistry | None = None,
    ) -> None:
        self.client = client
        self._registry = registry
        self._cache = cache_dir
        self._pipeline = pipeline_dir
        self._python = python
        self._patience = patience
        self._engine = "the engine"
        """What messages call it, once it has said what it is."""

    @cached_property
    def _facts(self) -> EngineFacts:
        return facts_of(self.client)

    def limits_note(self) -> str:
        """Return which limits the engine does not enforce: a rootless one may enforce none."""
        with self._engine_errors():
            return self._facts.limits_note

    def prepare(self, toolchain: Toolchain, say: Callable[[str], None]) -> ToolchainRecord:
        """Make the image ready. See :func:`targets.toolchain.image.ensure_image`."""
        answering = while_answering(self.client, self._patience)
        with interruptible(), self._engine_errors(), answering:
            image = ensure_image(self.client, toolchain, self._cache, say, self._registry)
            mark_used(self.client, image)
            facts = self._facts
        return ToolchainRecord(
            digest=toolchain.digest,
            runtime=self.name,
            python=toolchain.python,
            base_image=image.base,
            image=image.reference,
            details={"engine": facts.known_as, "kernel": str(facts.info["KernelVersion"])},
            unconfined=facts.unconfined,
        )

    def needs(self, toolchain: Toolchain) -> tuple[Need, ...]:
        """Return the disk space of an image that is not built yet, and of its wheels."""
        with self._engine_errors():
            return image_needs(self.client, toolchain, self._cache, self._registry)

    def run(self, toolchain: Toolchain, request: RunRequest, on_event: OnEvent) -> None:
        """Run the plan; see :meth:`targets.runtimes.runtime.Runtime.run`."""
        with self._engine_errors():
            image = find_image(self.client, toolchain, self._registry)
        if image is None:
            raise EnvironmentUnable(
                f"the image of the {toolchain.target} toolchain is gone", "run the build again"
            )
        self.run_image(image.id, toolchain, request, on_event)

    def run_image(
        self, image: str, toolchain: Toolchain, request: RunRequest, on_event: OnEvent
    ) -> None:
        """Run the plan in a container of ``image``."""
        with interruptible(), self._engine_errors():
            remove_orphans(self.client)
            self._engine = self._facts.titled
            roots = {mount.root: f"{_ROOTS}/{mount.root}" for mount in request.mounts}
            with workspace(self._cache, request.plan, roots) as space:
                options = self._options(toolchain, request, space)
                self._run(image, options, space, request, on_event)

    def _run(
        self,
        image: str,
        options: dict[str, Any],
        space: Workspace,
        request: RunRequest,
        on_event: OnEvent,
    ) -> None:
        name = f"quern-{space.run_id}"
        with self._removing(name), self._engine_errors():
            container = self.client.containers.create(image, name=name, **options)
            self._follow(container, request, on_event).check()
            remove(self.client, name)

    def _follow(self, container: Container, request: RunRequest, on_event: OnEvent) -> Ending:
        """Start the container, hand on what it says, and return how it ended."""
        timer = StepTimer(request.resources.step_seconds)
        killed_before = oom_kills()
        with opened_log(request.log) as log:
            reader = EventReader(on_event, log, request.step_names, timer)
            output = container.attach(stdout=True, stderr=True, stream=True, demux=True)
            feeding = fed(container, request.stdin)
            container.start()
            heartbeat = Heartbeat(self.client, output.close, self._patience)
            with heartbeat, feeding, timer.ending(partial(_end, container, output)):
                for stdout, stderr in output:
                    if stderr:
                        log.write(stderr)
                    if stdout:
                        reader.feed(stdout)
                reader.close()
                state = _ended(container, heartbeat, timer)
        if self._facts.is_podman and reader.failure is None and oom_kills() > killed_before:
            state = {**state, "OOMKilled": True}  # with cgroups v1 Podman 4.3 does not say so
        return self._ending(state, reader, timer, request)

    def _ending(
        self, state: Mapping[str, Any], reader: EventReader, timer: StepTimer, request: RunRequest
    ) -> Ending:
        code = int(state["ExitCode"])
        if signal_of(code) in _STOPPED and not state["OOMKilled"] and timer.exceeded is None:
            self._require_engine()
        if state.get("Error"):
            raise EnvironmentUnable(f"{self._engine} says: {state['Error']}", log=request.log)
        return Ending(
            exit_code=code,
            step=reader.step,
            failure=reader.failure,
            log=request.log,
            out_of_memory=bool(code and state["OOMKilled"]),
            memory_bytes=memory_limit(self._facts.info, request.resources),
            time_limit=timer.exceeded,
        )

    def _require_engine(self) -> None:
        """Raise if the engine is shutting down: it kills its containers first, then itself."""
        for _ in range(4):
            if not answers(self.client, 3):
                raise EngineGone("it shut down")
            time.sleep(0.5)

    @contextmanager
    def _engine_errors(self) -> Iterator[None]:
        """Turn errors between driver and engine into ``EnvironmentUnable``."""
        try:
            yield
        except APIError as error:
            raise self._refusal(error) from error
        except (DockerException, RequestException, ConnectionError) as error:
            if is_silent(error):
                raise EnvironmentUnable(SILENT, RESTART) from error
            raise EnvironmentUnable(
                f"{self._engine} stopped or restarted during the run ({reason(error)})",
                "start it and run again: it goes on from the last finished step",
            ) from error

    def _refusal(self, error: APIError) -> EnvironmentUnable:
        """Return what a refusal of the engine means, and what to do about it."""
        why = reason(error)
        full = full_disk(why, "running a container")
        if full is not None:
            return full
        if isinstance(error, NotFound) or _NO_CONTAINER in why:
            return EnvironmentUnable(f"the container was removed from outside ({why})", "run again")
        if any(words in why for words in _NO_GPU_RUNTIME):
            return EnvironmentUnable(
                f"{self._engine} cannot give a container the GPU ({why})",
                "install NVIDIA's container toolkit: `sudo apt-get install "
                "nvidia-container-toolkit && sudo nvidia-ctk runtime configure "
                "--runtime=docker && sudo systemctl restart docker` "
                "(https://docs.nvidia.com/datacenter/cloud-native/container-toolkit), "
                "or use `--runtime venv`",
            )
        if lacks_init(error):
            return no_init(error)
        remedy = "its own configuration does not let it run such a container"
        if any(words in why.lower() for words in _ABOUT_FOLDERS):
            remedy = "the folders of config, data and cache must be ones the engine can mount"
        return EnvironmentUnable(f"{self._engine} refused: {why}", or_venv(remedy))

    @contextmanager
    def _removing(self, name: str) -> Iterator[None]:
        """Stop and remove the container ``name``, if it was created, where the block ends early."""
        try:
            yield
        except KeyboardInterrupt:
            with deferring_signals():
                if self._removed(name, perhaps_being_made=True):
                    raise
            raise Interrupted(
                f"stopped; but {SILENT}", f"{_left(name)}; finished steps are kept"
            ) from None
        except QuernError as error:
            with deferring_signals():
                if not self._removed(name):
                    error.hint = "\n".join(text for text in (error.hint, _left(name)) if text)
            raise
        except BaseException:
            with deferring_signals():
                self._removed(name)
            raise

    def _removed(self, name: str, perhaps_being_made: bool = False) -> bool:
        """Stop and remove the container; return whether it is certain that there is none."""
        try:
            with request_timeout(self.client, _STOP_SECONDS):
                if not remove(self.client, name) and perhaps_being_made:
                    time.sleep(_STOP_SECONDS / 4)
                    remove(self.client, name)
        except (DockerException, RequestException):
            return False  # the engine is gone; the next run removes orphans
        return True

    def _options(
        self, toolchain: Toolchain, request: RunRequest, space: Workspace
    ) -> dict[str, Any]:
        """Return the arguments of ``containers.create`` for one run."""
        environment = process_environment(
            toolchain,
            replace(request, environment={}),
            home=HOME,
            code=_CODE,
        )
        secret = dict(request.environment)
        binds = [
            Bind(f"{_CODE}/pipeline", str(self._pipeline.resolve()), "bind", read_only=True),
            Bind(_PLAN, str(space.plan.resolve()), "bind", read_only=True),
            *(_bind(mount) for mount in request.mounts),
        ]
        if space.lease is not None:
            binds.append(Bind(_LEASE, str(space.lease.resolve()), "bind", read_only=True))
        network = "none"
        if request.network:
            bundle = host_ca_bundle()
            if bundle is not None:
                binds.append(Bind(_CA, str(bundle), "bind", read_only=True))
            reach = network_environment(_CA if bundle is not None else None)
            secret = {**reach, **secret}
            network = "host" if proxy_on_this_machine(reach) else "bridge"
        arguments = [_PLAN]
        if secret:
            # Not as the container's own variables, which everybody who asks the engine can read.
            file = space.secret_variables(secret)
            binds.append(Bind(_VARIABLES, str(file.resolve()), "bind", read_only=True))
            arguments += ["--variables", _VARIABLES]
        return {
            "command": watched(
                self._python, _LEASE if space.lease else None, "-m", "pipeline", *arguments
            ),
            "environment": environment,
            "labels": {RUN_LABEL: space.run_id, "quern.target": toolchain.target},
            "mounts": binds,
            "network_mode": network,
            "log_config": LogConfig(type="none"),
            "stdin_open": request.stdin is not None,
            **self._device(request),
            **confinement(),
            "init": space.lease is None,  # else the one who watches is the first process
            **limits(self._facts.info, request.resources),
            **self._identity(),
        }

    def _device(self, request: RunRequest) -> Mapping[str, object]:
        """Return what gives the container the device, in the words of the engine."""
        if not (request.device and self._facts.is_podman):
            return request.device
        return podmans_device(request.device, self._facts)

    def _identity(self) -> dict[str, Any]:
        """Return the user of the process, so that the caller owns the files that it writes."""
        security = self._facts.info.get("SecurityOptions") or []
        options = ["no-new-privileges"]
        if any(option.startswith("name=selinux") for option in security):
            options.append("label=disable")  # the caller's folders keep their labels
        # Root inside is then the caller outside; so it is in the virtual machine of an engine.
        if self._facts.rootless or sys.platform == "win32":
            return {"user": "0:0", "security_opt": options}
        identity: dict[str, Any] = {
            "user": f"{os.getuid()}:{os.getgid()}",
            "group_add": [str(group) for group in os.getgroups()],
            "security_opt": options,
        }
        if any(option.startswith("name=userns") for option in security):
            identity["userns_mode"] = "host"
        return identity


def _bind(mount: Mount) -> Bind:
    source = mount.source.resolve()
    target = f"{_ROOTS}/{mount.root}"
    if not source.is_dir():
        target = f"{target}/{mount.source.name}"
    return Bind(target, str(source), "bind", read_only=not mount.writable)


def _end(container: Container, output: CancellableStream[Any]) -> None:
    """End the container. If the engine cannot, listen to it no longer: it then ends with the lease
    of its driver."""
    try:
        container.kill()
        container.wait(timeout=_WAIT_SECONDS)
    except (DockerException, RequestException):
        output.close()


def _ended(container: Container, heartbeat: Heartbeat, timer: StepTimer) -> Mapping[str, Any]:
    """Wait for the end of the container and return the state that it ended in."""
    while True:
        if heartbeat.silent:
            raise EnvironmentUnable(SILENT, RESTART)
        try:
            container.wait(timeout=_WAIT_SECONDS if timer.exceeded is None else _STOP_SECONDS)
            break
        except RequestException as error:
            if not is_silent(error):
                raise
            if timer.exceeded is not None:
                limit = duration(timer.exceeded)
                raise EnvironmentUnable(
                    f"the Docker Engine does not end a container whose step took over {limit}",
                    RESTART,
                ) from error
            # Else it has closed its outputs but still runs.
    container.reload()
    state: Mapping[str, Any] = container.attrs["State"]
    return state


def _left(name: str) -> str:
    """Return what is said where the engine did not remove the container ``name``."""
    return (
        f"the container {name} may still be there: the next build that runs in containers removes "
        "it, once the engine answers"
    )


def remove_orphans(client: DockerClient) -> None:
    """Remove the containers of drivers that were killed before they could clean up.

    Raises the errors of the engine.
    """
    for container in client.containers.list(
        all=True, filters={"label": RUN_LABEL}, ignore_removed=True
    ):
        driver = driver_of(container.labels[RUN_LABEL])
        if driver is not None and driver.gone:
            remove(client, str(container.id))


def remove(client: DockerClient, name: str) -> bool:
    """Kill and remove the container ``name`` with its volumes; return whether there was one.

    Steps have nothing to do at their end: what is unfinished has no name yet.
    """
    try:
        client.api.remove_container(name, v=True, force=True)
    except NotFound:
        return False
    except APIError as error:
        # Another build removes it too, this very moment.
        if error.status_code != HTTPStatus.CONFLICT:
            raise
    return True
