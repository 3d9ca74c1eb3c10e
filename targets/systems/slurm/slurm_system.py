"""The system of type ``slurm``: steps run as jobs of a cluster, in a folder that nodes share."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

from pipeline.contract.schema import SlurmSystem as SlurmTable
from targets.devices import cuda
from targets.devices.device import CPU, Device
from targets.errors import EnvironmentUnable
from targets.figures import size
from targets.machine import NEEDED_FLAGS
from targets.runtimes.process_environment import network_environment, plain_environment
from targets.runtimes.runtime import RuntimeName
from targets.systems.job_notes import JobNotes
from targets.systems.machines import machines_of
from targets.systems.room import require_room
from targets.systems.slurm.cluster import Cluster, Partition
from targets.systems.slurm.environment import VirtualEnvironments
from targets.systems.slurm.job import TAKE_UNFINISHED, SlurmJob
from targets.systems.slurm.launch import Enclosure
from targets.systems.slurm.login import Login, Refused
from targets.systems.slurm.script import (
    EVENTS,
    LOG,
    PLAN,
    VARIABLES,
    Scripts,
    job_name,
    unfinished_roots,
)
from targets.systems.system import Say
from targets.systems.task import Material, Task
from targets.systems.tree import TAR_END, Tree, folder_entry, small_file_entry, total
from targets.systems.tunnel import SshLogin
from targets.toolchain.toolchain import Toolchain, ToolchainRecord

_SSH = re.compile(r"ssh://(?P<to>[^:/]+)(?::(?P<port>\d+))?")
_MARGIN = 64 * 10**6
"""Bytes that must be free there beyond what is sent and made."""
_SAID_FROM = 10 * 1000**2
_SEND_SECONDS = 24 * 3600
_FREE_SOME = "e.g. old ones of `inputs` in that folder"
_UNPACK = (
    'work=$(mktemp -d "$1.XXXXXX") && tar -xf - --no-same-owner -C "$work" && '
    '{ mv -T "$work/tree" "$1" 2> /dev/null || [ -d "$1" ]; } && rm -rf "$work"'
)
"""Unpacks a folder, which gets its name when it is whole; another driver may be quicker."""

_MAKE_FOLDERS = (
    'umask 077; mkdir -p "$@" && [ -w "$1" ] && '
    "find \"$@\" -mindepth 1 -maxdepth 1 -name '*.??????' -mtime +1 -exec rm -rf '{}' + && "
    "find \"$1\" -mindepth 2 -maxdepth 2 -mtime +30 -exec rm -rf '{}' +"
)
"""Makes the folders, and removes from them what drivers left half sent that were killed, and from
the first what nobody went on with."""


class SlurmSystem:
    """A partition of a cluster."""

    def __init__(self, name: str, table: SlurmTable, cache: Path) -> None:
        self.name = name
        self._table = table
        self._cache = cache
        match = _SSH.fullmatch(table.login or "")
        address = SshLogin(match["to"], match["port"]) if match else None
        self._login = Login(name, address, table.patience)
        self._cluster = Cluster(self._login)
        self._enclosure = self._enclosed(table, cache)

    @property
    def runtime(self) -> RuntimeName:
        """Return what steps run in there."""
        return self._enclosure.runtime

    def _enclosed(self, table: SlurmTable, cache: Path) -> Enclosure:
        if table.container == "none":
            place = f"{table.folder}/toolchains"
            return VirtualEnvironments(self._login, place, table.python, cache, self._free)
        from targets.systems.slurm.container import Containers  # it needs docker-py

        place = f"{table.folder}/images"
        return Containers(self._login, place, table.container, cache, self._free)

    @property
    def where(self) -> str:
        """Return its name and partition."""
        at = f" of {self._table.login}" if self._table.login else ""
        return f"{self.name} (Slurm: {self._table.partition}{at})"

    def close(self) -> None:
        """Log out."""
        self._login.close()

    @cached_property
    def _partition(self) -> Partition:
        table = self._table
        partition = self._cluster.partition(table.partition)
        if partition.hours is not None and table.max_hours > partition.hours + 1e-6:
            raise EnvironmentUnable(
                f"the partition {table.partition} of {self.name} gives a job {partition.hours:g} "
                f"hours, `max_hours` asks for {table.max_hours:g}",
                "lower `max_hours`, or name another partition",
            )
        return partition

    def require(self, toolchain: Toolchain) -> str:
        """Return whether its software is there, or where it comes from."""
        partition = self._partition
        nodes = "1 node" if partition.nodes == 1 else f"{partition.nodes} nodes"
        words = f"{nodes} of {partition.cores} CPUs"
        return f"{words}; {self._enclosure.words(toolchain)}"

    def prepare(self, toolchain: Toolchain, say: Say) -> ToolchainRecord:
        """Have it there."""
        cores = self._partition.cores
        self._make_folders()
        return replace(
            self._enclosure.prepare(toolchain, say),
            system=self.name,
            cpu=f"a CPU of the partition {self._table.partition}",
            cores=cores or 1,
            unconfined=self._lacks,
        )

    def device(self, kind: str, toolchain: Toolchain) -> Device:
        """Return the device ``kind`` of the nodes, as far as Slurm says."""
        nodes = f"the nodes of {self._table.partition} of {self.name}"
        if kind == CPU:
            return Device(CPU, description=f"the CPU of {nodes}")
        if kind != cuda.KIND or toolchain.platform != (self._table.platform or toolchain.platform):
            return Device(kind, f"{nodes} have no such device")
        if not (self._table.gres or "").startswith("gpu"):
            return Device(kind, f"a job of {self.name} gets no GPU: `gres` does not ask for one")
        if not self._partition.has("gpu"):
            return Device(kind, f"{nodes} have no GPU")
        device = Device(
            kind,
            description=f"a GPU of {nodes}; its driver is not known",
            model=f"a GPU of {self._table.partition}",
        )
        count = _count(self._table.gres or "") * self._table.nodes
        return replace(device, several=(device,) * (count - 1))  # Slurm shows a job those it has

    @cached_property
    def _lacks(self) -> str:
        """What neither Slurm nor what the steps run in enforces, in words."""
        settings = self._cluster.settings()
        lacking = [*self._enclosure.lacks]
        if settings.get("ConstrainRAMSpace", "no").lower() != "yes":
            lacking.append("a limit of memory")
        if settings.get("ConstrainCores", "no").lower() != "yes":
            lacking.append("a limit of CPUs")
        return ", ".join(lacking)

    def limits_note(self) -> str:
        """Return what the cluster does not enforce, and how long a job may take."""
        return f"not enforced there: {self._lacks}; each job may take {self._table.max_hours:g} h"

    def has(self, tree: str) -> bool:
        """Return whether the tree lies there whole."""
        return tree in self._inputs()

    def job(self, job_id: str, say: Say = lambda _line: None) -> SlurmJob:
        """Return the job, which may be gone."""
        folder = self._job_folder(job_id)
        return SlurmJob(
            job_id,
            folder,
            self._unfinished,
            self._login,
            self._cluster,
            self._table.max_hours,
            say,
        )

    def submit(
        self, job_id: str, toolchain: Toolchain, task: Task, material: Material, say: Say
    ) -> SlurmJob:
        """Send what is not there, and start the job."""
        job = self.job(job_id, say)
        if job.state().phase != "gone":
            say(f"going on with the job {job_id} on {self.name}")
            return job
        job.cancel()  # what a driver left that was killed before it had started one
        self._make_folders()
        self._send(task, material, say)
        folder = self._job_folder(job_id)
        self._put(folder, lambda: self._own_files(folder, toolchain, task, material))
        self._login.run(TAKE_UNFINISHED, folder, self._unfinished, *unfinished_roots(task))
        try:
            number = self._cluster.submit(folder, self._options(job_id, task))
        except EnvironmentUnable:
            job.cancel()
            raise
        say(f"the job {number} is submitted to {self.where}")
        return job

    def _send(self, task: Task, material: Material, say: Say) -> None:
        """Send the inputs that are not there, if there is room."""
        there = self._inputs()
        needed = dict.fromkeys((task.code, *(part.digest for part in task.inputs)))
        trees = {digest: material.trees[digest] for digest in needed if digest not in there}
        space = total(trees.values()) + task.writes + _MARGIN
        what = "what the steps read, and what they make,"
        require_room(self.name, self._free(), space, what, _FREE_SOME)
        if total(trees.values()) > _SAID_FROM:
            say(f"sending {size(total(trees.values()))} to {self.name}")
        for digest, tree in trees.items():
            self._put(f"{self._table.folder}/inputs/{digest}", partial(_entries, tree))

    def _put(self, place: str, entries: Callable[[], Iterable[bytes]]) -> None:
        self._login.run(_UNPACK, place, given=entries, seconds=_SEND_SECONDS)

    def _own_files(
        self, folder: str, toolchain: Toolchain, task: Task, material: Material
    ) -> Iterator[bytes]:
        """Yield the entries of what only this job reads."""
        gpu = (self._table.gres or "").startswith("gpu")
        launch = self._enclosure.launch(toolchain, folder, self._input_folder, gpu)
        secrets = {**(network_environment(None) if task.network else {}), **material.secrets}
        scripts = Scripts(
            folder,
            launch,
            task,
            variables={
                **plain_environment(f"{launch.job}/home", f"{launch.job}/code"),
                **task.environment,
            },
            needs=NEEDED_FLAGS if toolchain.platform == "linux/amd64" else (),
            secret=bool(secrets),
            nodes=machines_of(task.plan, self._table.nodes),
        )
        yield folder_entry("tree")
        for name, script in scripts.files():
            yield small_file_entry(f"tree/{name}", script.encode(), 0o700)
        yield small_file_entry(f"tree/{PLAN}", task.plan.model_dump_json().encode(), 0o600)
        if secrets:  # not in the job's environment, which Slurm shows and stores
            yield small_file_entry(f"tree/{VARIABLES}", json.dumps(secrets).encode(), 0o600)
        yield TAR_END

    def _options(self, job_id: str, task: Task) -> list[str]:
        table, limits = self._table, task.limits
        nodes = machines_of(task.plan, table.nodes)
        memory = limits.memory_bytes
        return [
            *table.options,
            f"--partition={table.partition}",
            f"--job-name={job_name(job_id)}",
            f"--time={max(1, math.ceil(table.max_hours * 60))}",
            f"--nodes={nodes}",
            f"--ntasks={nodes}",
            "--ntasks-per-node=1",
            f"--cpus-per-task={math.ceil(limits.cpus or task.plan.threads)}",
            *([f"--mem={math.ceil(memory / (1 << 20))}M"] if memory else []),
            *([f"--gres={table.gres}"] if table.gres else []),
            "--no-requeue",  # it would begin anew
            "--export=ALL",
            f"--output={EVENTS}",
            f"--error={LOG}",
        ]

    def _inputs(self) -> set[str]:
        return {*self._login.run('ls -1 "$1" 2> /dev/null || true', self._input_folder).split()}

    def _free(self) -> int:
        """Return the free bytes of the shared folder."""
        rows = self._login.run('df -Pk "$1"', self._table.folder).strip().split("\n")
        return int(rows[-1].split()[3]) * 1024

    def _make_folders(self) -> None:
        folder = self._table.folder
        names = ("unfinished", "toolchains", "images", "inputs", "jobs")
        places = [f"{folder}/{name}" for name in names]
        try:
            self._login.run(_MAKE_FOLDERS, *places)
        except Refused as refused:
            raise EnvironmentUnable(
                f"{folder} cannot be written to on {self.name}: {refused}",
                "name a folder of yours as `folder`",
            ) from None

    @property
    def _unfinished(self) -> str:
        """Return the folder with what this cache's steps can go on with."""
        return f"{self._table.folder}/unfinished/{JobNotes(self._cache).owner}"

    @property
    def _input_folder(self) -> str:
        return f"{self._table.folder}/inputs"

    def _job_folder(self, job_id: str) -> str:
        return f"{self._table.folder}/jobs/{job_id}"


def _count(gres: str) -> int:
    """Return how many GPUs ``gpu:a100:2`` asks for."""
    last = gres.partition(",")[0].rpartition(":")[2]
    return max(1, int(last)) if last.isdecimal() else 1


def _entries(tree: Tree) -> Iterator[bytes]:
    yield folder_entry("tree")
    yield from tree.tar("tree")
    yield TAR_END
