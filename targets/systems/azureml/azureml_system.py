"""The system of type ``azureml``: steps run as jobs of a workspace, on a compute of it."""

from __future__ import annotations

import math
import secrets as random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Final

from pipeline.contract.file_digest import FileDigest
from pipeline.contract.frozen import Frozen
from pipeline.contract.plan import Plan
from pipeline.contract.schema import AzureMLSystem
from pipeline.contract.sha256 import sha256_of_bytes
from targets.atomic import replace_file
from targets.devices import cuda
from targets.devices.device import CPU, Device
from targets.figures import size
from targets.remote.background import in_background
from targets.remote.departure import Departure
from targets.remote.store import Store
from targets.runtimes.process_environment import plain_environment
from targets.runtimes.runtime import RuntimeName
from targets.systems.azureml import in_job
from targets.systems.azureml.environment import environment_of
from targets.systems.azureml.job import AzureJob
from targets.systems.azureml.workspace import Machine, Workspace, stored
from targets.systems.machines import machines_of
from targets.systems.system import Say
from targets.systems.task import Input, Material, Task
from targets.systems.tree import TreeFile
from targets.toolchain.image import PYTHON
from targets.toolchain.registry.settings import RegistrySettings
from targets.toolchain.toolchain import Toolchain, ToolchainRecord

_PREFIX = "quern"
"""Folder of the datastore in which everything lies."""
_LACKS = "that there is no network, a read-only root, limits of memory and CPUs"
"""What the service does not enforce."""
_SIDE_BY_SIDE = 8
_HUB_TOKEN = "HF_TOKEN"  # noqa: S105 - a name


class _PlacedInput(Frozen):
    root: str
    path: str
    files: tuple[tuple[str, str], ...]
    """Path and digest of each."""


class _JobTask(Frozen):
    """What :mod:`in_job` reads."""

    plan: Plan
    environment: dict[str, str]
    inputs: tuple[_PlacedInput, ...]
    keyvault: str
    machines: int


class AzureSystem:
    """A compute of a workspace."""

    runtime: Final[RuntimeName] = "docker"

    def __init__(
        self, name: str, table: AzureMLSystem, cache: Path, trust: tuple[Path, ...] = ()
    ) -> None:
        """``trust`` are the keys of which one must have signed an image of its registry."""
        self.name = name
        self._table = table
        address = table.image_registry
        self._registry = None if address is None else RegistrySettings(address, trust)
        self._notes = cache / "jobs"
        self._workspace = Workspace(table)
        self._environments: dict[str, str] = {}

    @property
    def where(self) -> str:
        """Return its name and compute."""
        table = self._table
        return f"{self.name} (Azure ML: {table.compute} of {table.workspace})"

    def close(self) -> None:
        """Do nothing: there is no connection that stays."""

    @cached_property
    def _machine(self) -> Machine:
        return self._workspace.machine()

    @cached_property
    def _store(self) -> Store:
        return self._workspace.store(self._table.datastore, _PREFIX)

    def require(self, toolchain: Toolchain) -> str:
        """Return what the compute is, and where its image comes from."""
        words = self._machine.words
        source = "the workspace, which builds it from the lock"
        if self._registry is not None:
            source = f"{self._registry.address}, {self._registry.signed}"
        return f"on {words}; the image of {toolchain.target} comes from {source}"

    def prepare(self, toolchain: Toolchain, say: Say) -> ToolchainRecord:
        """Have the workspace know the environment of the toolchain."""
        machine = self._machine
        found = environment_of(self._workspace, toolchain, self._registry, say)
        self._environments[toolchain.digest] = found.reference
        return ToolchainRecord(
            digest=toolchain.digest,
            runtime="docker",
            python=toolchain.python,
            base_image=found.base,
            image=found.image,
            details={"environment": found.reference},
            system=self.name,
            cpu=f"the CPU of a {machine.words}",
            cores=machine.cores or 1,
            unconfined=_LACKS,
        )

    def device(self, kind: str, toolchain: Toolchain) -> Device:
        """Return the device ``kind`` of the compute's machines, as far as the service says."""
        machine_has = f"a {self._table.compute} of {self.name}"
        if kind == CPU:
            return Device(CPU, description=f"the CPU of {machine_has}")
        if kind != cuda.KIND or toolchain.platform != self._table.platform:
            return Device(kind, f"{machine_has} has no such device")
        if not self._machine.gpus:
            return Device(kind, f"{machine_has} has no GPU ({self._machine.words})")
        machines = self._table.instance_count
        whole = [
            Device(
                cuda.KIND,
                description=f"a GPU of a {self._machine.words}; its driver is not known",
                model=self._machine.words,
                environment={cuda.VISIBLE: ",".join(map(str, range(math.ceil(count / machines))))},
            )
            for count in range(1, self._machine.gpus * machines + 1)
        ]
        return replace(whole[0], several=tuple(whole[1:]))

    def limits_note(self) -> str:
        """Return what the service does not enforce, and what it may cost."""
        hours = self._table.max_hours
        note = f"not enforced there: {_LACKS}; each job may run, and be billed, for {hours:g} h"
        stays = self._machine.stays
        if not stays:
            return note
        running = "one machine" if stays == 1 else f"{stays} machines"
        return (
            f"{note}; warning: {self._table.compute} does not scale to zero: {running} of it run, "
            "and are billed, without any job"
        )

    def has(self, tree: str) -> bool:  # noqa: ARG002 - the interface
        """Return that nothing is kept there alone."""
        return False

    def job(self, job_id: str, say: Say = lambda _line: None) -> AzureJob:
        """Return the job, which may be gone."""
        note = self._notes / f"{job_id}.azureml"
        hours = self._table.max_hours
        return AzureJob(job_id, note, self._workspace, lambda: self._store, hours, say)

    def submit(
        self, job_id: str, toolchain: Toolchain, task: Task, material: Material, say: Say
    ) -> AzureJob:
        """Send the blobs that are not there, and start the job."""
        job = self.job(job_id, say)
        if job.state().phase != "gone":
            say(f"going on with the job {job.name} on {self.name}")
            return job
        described = self._described(task, material)
        content = described.model_dump_json().encode()
        with stored():
            self._send(task, material, say)
            self._send_file(content)
        self._notes.mkdir(parents=True, exist_ok=True)
        name = f"quern-{job_id}-{random.token_hex(3)}"
        replace_file(self._notes / f"{job_id}.azureml", name)
        arguments = ("${{inputs.blobs}}", "${{outputs.made}}", "${{outputs.kept}}")
        command = (PYTHON, f"{in_job.__name__.rpartition('.')[2]}.py", *arguments)
        with _code() as code:
            self._workspace.create(
                name,
                self._environments[toolchain.digest],
                " ".join((*command, sha256_of_bytes(content))),
                code,
                inputs={"blobs": f"{_PREFIX}/blobs/"},
                outputs={"made": f"{_PREFIX}/{job.folder}/", "kept": f"{_PREFIX}/blobs/"},
                title=f"{task.plan.build}: {', '.join(step.name for step in task.plan.steps)}",
                experiment=task.plan.build,
                machines=described.machines,
            )
        say(f"the job {name} is submitted to {self.where}")
        return job

    def _described(self, task: Task, material: Material) -> _JobTask:
        variables = {**plain_environment("", ""), **task.environment}
        settings = {
            name: value
            for name, value in material.secrets.items()
            if name != _HUB_TOKEN and "@" not in value  # an address may have a password
        }
        return _JobTask(
            plan=task.plan,
            environment={**variables, **settings},
            inputs=tuple(
                _PlacedInput(
                    root=part.root,
                    path=part.path,
                    files=tuple(
                        (file.path, file.sha256) for file in material.trees[part.digest].files
                    ),
                )
                for part in _inputs(task)
            ),
            keyvault=(self._table.keyvault or "") if _asks_hub(task) else "",
            machines=machines_of(task.plan, self._table.instance_count),
        )

    def _send(self, task: Task, material: Material, say: Say) -> None:
        if _HUB_TOKEN in task.secrets and not self._table.keyvault:
            say(
                f"the job gets no {_HUB_TOKEN}: what a job is given can be read in its history. "
                "Name a `keyvault` that has it as hf-token"
            )
        trees = [material.trees[part.digest] for part in _inputs(task)]
        whole = sum(tree.size for tree in trees)
        if whole > 10 * 1000**2:
            say(f"sending what {self.name} does not have of {size(whole)}")
        departure = Departure(self._store, set(), lambda: None)

        def send(file: TreeFile) -> None:
            there = FileDigest(path=file.path, bytes=file.size, sha256=file.sha256)
            departure.send_file(there, file.source)

        distinct = {file.sha256: file for tree in trees for file in tree.files}
        in_background(send, distinct.values(), _SIDE_BY_SIDE)

    def _send_file(self, content: bytes) -> None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            digest = FileDigest(path="task", bytes=len(content), sha256=sha256_of_bytes(content))
            Departure(self._store, set(), lambda: None).send_file(digest, Path(file.name))


def _asks_hub(task: Task) -> bool:
    return any(step.hub for step in task.plan.steps)


def _inputs(task: Task) -> tuple[Input, ...]:
    """Return what the job lays out: what its steps read, and ``pipeline/``."""
    return (*task.inputs, Input(root=in_job.CODE, path="pipeline", digest=task.code))


@contextmanager
def _code() -> Iterator[Path]:
    """Yield a folder with what every job runs, and nothing else: the service keeps it once."""
    with tempfile.TemporaryDirectory(prefix="quern-code-") as folder:
        shutil.copy(in_job.__file__, folder)
        yield Path(folder)
