"""A cluster of one's own: Slurm's real daemons, two nodes on this machine, whose ports, keys and
state belong to the test. Of the machine it needs the programs alone."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from tests.support.capabilities import program, skip
from tests.support.gated_builds import Surroundings

PARTITION, SHORT = "main", "short"
NODES = ("n1", "n2")
PYXIS = os.environ.get("QUERN_TEST_PYXIS", "")
"""Path of ``spank_pyxis.so``, which is no package of Debian's."""
_CONFIG = """\
ClusterName=quern
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1
ReturnToService=2
SlurmdTimeout=5
KillWait=2
MpiDefault=none
GresTypes=gpu
NodeName=DEFAULT CPUs=2 RealMemory=4000
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[1]} Gres=gpu:1
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[2]}
PartitionName=main Nodes=n1,n2 Default=YES State=UP
PartitionName=short Nodes=n1,n2 MaxTime=10 State=UP
"""


class Cluster:
    """Two nodes, their controller, and the folder that they share."""

    name = "hpc"
    ended_there = "somebody ended the job there (CANCELLED)"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shared = folder / "shared"
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        with ExitStack() as free:
            sockets = [free.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
            ports = [one.getsockname()[1] for one in sockets]
        self.config = folder / "slurm.conf"
        self.config.write_text(_CONFIG.format(folder=folder, ports=ports))
        # A job is told that it has the GPU; nothing is behind that file.
        (folder / "gpu").touch()
        (folder / "gres.conf").write_text(f"NodeName=n1 Name=gpu Count=1 File={folder}/gpu\n")
        (folder / "cgroup.conf").write_text("")
        if PYXIS:
            plugin = f"required {PYXIS} runtime_path={folder}/pyxis\n"
            (folder / "plugstack.conf").write_text(plugin)
            with self.config.open("a") as config:
                config.write(f"PlugStackConfig={folder}/plugstack.conf\n")

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the variables of somebody whose login machine this is."""
        return {"SLURM_CONF": str(self.config)}

    @property
    def around(self) -> Surroundings:
        return Surroundings(self.environment)

    def table(self, **more: object) -> str:
        """Return the system as a config has it."""
        settings = {"folder": str(self.shared), "partition": PARTITION, "max_hours": 1, **more}
        lines = [
            f'{name} = "{value}"' if isinstance(value, str) else f"{name} = {value}"
            for name, value in settings.items()
        ]
        return "\n".join(('\n[systems.hpc]\ntype = "slurm"', *lines)) + "\n"

    def start(self) -> None:
        """Start all daemons; return when both nodes take jobs."""
        (self.folder / "munge.key").write_bytes(os.urandom(128))
        (self.folder / "munge.key").chmod(0o600)
        places = {"key-file": "key", "socket": "socket", "pid-file": "pid"}
        places |= {"log-file": "log", "seed-file": "seed"}
        options = [f"--{name}={self.folder}/munge.{end}" for name, end in places.items()]
        self._begin("munged", "--foreground", "--force", *options)
        _until(lambda: (self.folder / "munge.socket").exists(), self.folder / "munge.log")
        self.start_controller()
        for node in NODES:
            self.start_node(node)
        self.wait_for_nodes()

    def wait_for_nodes(self) -> None:
        """Return when both nodes take jobs."""
        _until(
            lambda: self.asked("sinfo", "--noheader", "--format=%D %t").strip() == "2 idle",
            self.folder / "slurmctld.log",
        )

    def start_controller(self) -> None:
        (self.folder / "state").mkdir(exist_ok=True)
        self._begin("slurmctld", "-D", "-f", str(self.config))

    def stop_controller(self) -> None:
        self._end("slurmctld", signal.SIGTERM)

    def start_node(self, node: str) -> None:
        self._begin("slurmd", "-D", "-N", node, "-f", str(self.config), name=node)

    def kill_node(self, node: str) -> None:
        """Kill a node as a power cut does: its daemon, and what it runs."""
        spool = f"spool-{node}"
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                # What holds a job's processes together names the node.
                if f"[{node}" in " ".join(process.cmdline()) or spool in _paths(process):
                    for child in process.children(recursive=True):
                        child.kill()
                    process.kill()
        self._end(node, signal.SIGKILL)

    def stop(self) -> None:
        self.end_jobs()
        deadline = time.monotonic() + 20
        while self.jobs() and time.monotonic() < deadline:
            time.sleep(0.1)
        for name in reversed([*self._daemons]):
            self._end(name, signal.SIGTERM)

    def jobs(self) -> list[str]:
        """Return the numbers of the jobs that wait or run."""
        return self.asked("squeue", "--noheader", "--format=%A").split()

    def job_folders(self) -> list[Path]:
        """Return the folders of Quern's jobs."""
        return [*self.shared.glob("jobs/*")]

    def left(self) -> list[str]:
        """Return what is left of jobs."""
        return [*self.jobs(), *(folder.name for folder in self.job_folders())]

    def end_jobs(self) -> None:
        """End every job, as somebody else would who may."""
        for number in self.jobs():
            self.asked("scancel", number)

    def working(self) -> list[Path]:
        """Return the folders for temporary files of the steps that wait."""
        return [*self.shared.glob("jobs/*/work/scratch.partial")]

    def asked(self, command: str, *arguments: str) -> str:
        """Return what one of Slurm's commands says."""
        done = subprocess.run(
            [command, *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout

    def _begin(self, command: str, *arguments: str, name: str = "") -> None:
        found = shutil.which(command, path=f"{os.environ['PATH']}:/usr/sbin") or command
        with (self.folder / f"{name or command}.out").open("ab") as output:
            self._daemons[name or command] = subprocess.Popen(
                [found, *arguments],
                env={**os.environ, **self.environment},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _end(self, name: str, number: signal.Signals) -> None:
        process = self._daemons.pop(name, None)
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _paths(process: psutil.Process) -> str:
    return str(process.environ().get("SLURM_SPOOL", ""))


def _until(so: object, log: Path) -> None:
    assert callable(so)
    deadline = time.monotonic() + 60
    while not so():
        assert time.monotonic() < deadline, "\n".join(
            file.read_text() for file in sorted(log.parent.glob("*.out"))
        )
        time.sleep(0.05)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Yield a cluster that takes jobs; its daemons end and its folder goes afterwards."""
    for name in ("munged", "slurmctld", "slurmd", "sbatch"):
        program("slurm", name, f"/usr/sbin/{name}")
    if os.geteuid():
        skip("slurm", "only root starts these daemons")
    # The path of a socket is short, and the key's folders are nobody else's.
    folder = Path(tempfile.mkdtemp(prefix="quern-slurm-"))
    made = Cluster(folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)
