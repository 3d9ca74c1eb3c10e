"""The scripts of a job: where steps read and write, what they see, and on how many nodes."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipeline.contract.plan import unfinished_root
from pipeline.process import free_port
from pipeline.process.machines import REACHED, VARIABLE
from targets.systems.slurm.launch import Launch
from targets.systems.task import Task

ENDED, UNABLE = "ended", "unable"
"""Files with the exit code of the process, and with why there was none."""
EVENTS, LOG = "events", "log"
"""Files that the job writes to: its standard output and its standard error."""
PLAN, VARIABLES = "plan.json", "variables.json"
BROKEN = "broken"
"""File with number, name and exit code of the first of several nodes that failed, and all nodes."""
JOB, PART = "job.sh", "part.sh"
"""The script that Slurm is given, and what that has each of several nodes run."""
_ENDING = (f"echo $code > {ENDED}.partial && mv {ENDED}.partial {ENDED}", "exit $code")
_PASSED_ON = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL")
"""Of the job's variables, those that a step gets to see: Slurm says there which GPUs it has."""


@dataclass(frozen=True)
class Scripts:
    """Writes the scripts of a job in ``folder``, whose process starts as ``launch`` says.

    ``variables`` is all that its process sees, but for secrets, which it reads from a file.
    ``needs`` are the instruction sets that the CPU must have.
    """

    folder: str
    launch: Launch
    task: Task
    variables: Mapping[str, str]
    needs: Iterable[str]
    secret: bool
    nodes: int = 1

    def files(self) -> Iterator[tuple[str, str]]:
        """Yield the name and the text of each."""
        if self.nodes == 1:
            lines = [*self._checks(), *self._arranged(), *self._process()]
            yield JOB, self._script([*lines, *_ENDING])
        else:
            yield JOB, self._script([*self._arranged(), *self._on_all_nodes()])
            yield PART, self._script([*self._checks(), *self._part()])

    def _script(self, lines: Iterable[str]) -> str:
        begin = (
            "#!/bin/sh",
            "umask 077",
            f"cd {shlex.quote(self.folder)} || exit 1",
            # srun does not take it over.
            'export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"',
            f'unable() {{ echo "$1" > {UNABLE}.partial && mv {UNABLE}.partial {UNABLE}; exit 1; }}',
        )
        return "\n".join((*begin, *lines)) + "\n"

    def _checks(self) -> Iterator[str]:
        """Yield what has to be so on a node."""
        for flag in self.needs:
            yield (
                f'grep -qw {flag} /proc/cpuinfo || unable "the CPU of $(hostname) lacks {flag}, '
                'which the toolchains use"'
            )
        present = self.launch.present
        yield f'[ -e {shlex.quote(present)} ] || unable "$(hostname) lacks {present}"'

    def _arranged(self) -> Iterator[str]:
        """Yield what makes the folders, and puts inputs where steps read them."""
        roots, inputs = self._roots(), self.launch.inputs
        yield f"mkdir -p home code work {' '.join(map(shlex.quote, self._parents(roots)))}"
        yield f"ln -s {shlex.quote(f'{inputs}/{self.task.code}')} code/pipeline"
        places = {
            str(PurePosixPath(roots[part.root], part.path)): part.digest
            for part in self.task.inputs
        }
        for place, digest in sorted(places.items()):
            yield f"ln -s {shlex.quote(f'{inputs}/{digest}')} {shlex.quote(place)}"

    def _process(self) -> Iterator[str]:
        """Yield what runs the steps: in ``work``, with ``$@`` among the variables."""
        roots, job = self._roots(), self.launch.job
        command = ["-m", "pipeline", f"{job}/{PLAN}"]
        for root, path in sorted(roots.items()):
            if root != "work":
                command += ["--root", f"{root}={job}/{path}"]
        if self.secret:
            command += ["--variables", f"{job}/{VARIABLES}"]
        yield 'set -- "$@" "PATH=/usr/local/bin:/usr/bin:/bin"'
        for name in _PASSED_ON:
            yield f'[ -z "${{{name}+set}}" ] || set -- "$@" "{name}=${name}"'
        yield f'{self._python()} {shlex.join(command)} --root "work={job}/${{work:-work}}"'
        yield "code=$?"

    def _python(self) -> str:
        assigned = " ".join(
            shlex.quote(f"{name}={value}") for name, value in sorted(self.variables.items())
        )
        python = shlex.quote(self.launch.python)
        return f'{shlex.join(self.launch.before)} env -i "$@" {assigned} {python}'.lstrip()

    def _on_all_nodes(self) -> Iterator[str]:
        """Yield what runs :data:`PART` on each node, and takes the end of the first one for that of
        the job. The addresses are those at which Slurm itself reaches the nodes."""
        yield (
            'addresses=$(sinfo --noheader --Node --partition="$SLURM_JOB_PARTITION" '
            "--nodes=\"$SLURM_JOB_NODELIST\" --format='%N %o')"
        )
        yield (
            'meeting=$(echo "$addresses" | awk -v name="$SLURMD_NODENAME" '
            "'$1 == name { print $2; exit }')"
        )
        yield (
            'reached=$(echo "$addresses" | awk -v name="$SLURMD_NODENAME" '
            "'$1 != name { print $2; exit }')"
        )
        yield f'port=$({self._python()} -m {free_port.__name__} "$SLURM_JOB_ID")'
        yield (
            '[ -n "$meeting" ] && [ -n "$reached" ] && [ -n "$port" ] || unable '
            '"$(hostname) cannot say where the nodes $SLURM_JOB_NODELIST meet"'
        )
        yield "export meeting reached port"
        yield (
            f"srun --nodes={self.nodes} --ntasks={self.nodes} --ntasks-per-node=1 --mpi=none "
            "--kill-on-bad-exit=1 --output=none "
            f"--error={LOG} --open-mode=append sh {PART}"
        )
        yield "code=$?"
        yield f'for log in {LOG}-*; do [ ! -e "$log" ] || cat "$log" >> {LOG}; done'
        yield f"[ ! -e {UNABLE} ] || exit 1"
        yield 'if [ "$code" != 0 ]; then'
        yield f'    [ -e {BROKEN} ] || exit "$code"  # Slurm says what happened'
        yield f"    read -r number node code nodes < {BROKEN}"
        yield "fi"
        yield from _ENDING

    def _part(self) -> Iterator[str]:
        """Yield what one of several nodes runs: only what the first one writes is read."""
        yield 'if [ "$SLURM_PROCID" = 0 ]; then'
        yield f"    work=work; exec >> {EVENTS}; reached=$reached"
        yield "else"
        yield f'    work="work-$SLURM_PROCID"; exec > "{EVENTS}-$SLURM_PROCID"'
        yield f'    exec 2> "{LOG}-$SLURM_PROCID"; reached=$meeting; mkdir -p "$work"'
        yield "fi"
        yield f'set -- "{VARIABLE}=$SLURM_PROCID/{self.nodes}@$meeting:$port" "{REACHED}=$reached"'
        yield from self._process()
        said = "$SLURM_PROCID $SLURMD_NODENAME $code $SLURM_JOB_NODELIST"
        yield f'[ $code = 0 ] || (set -C; echo "{said}" > {BROKEN})'
        yield "exit $code"

    def _roots(self) -> dict[str, str]:
        roots = {part.root: f"roots/{part.root}" for part in self.task.inputs}
        roots |= {"work": "work", "objects": "roots/objects"}
        return {**roots, **{root: root for root in unfinished_roots(self.task)}}

    def _parents(self, roots: Mapping[str, str]) -> list[str]:
        """Return the folders that hold the links to inputs."""
        found = {roots["objects"]}
        for part in self.task.inputs:
            found.add(str(PurePosixPath(roots[part.root], part.path).parent))
        return sorted(found)


def unfinished_roots(task: Task) -> tuple[str, ...]:
    """Return the folders of a job in which steps keep what they can go on with."""
    return tuple(unfinished_root(step.key) for step in task.plan.steps if step.resumes)


def job_name(job_id: str) -> str:
    """Return what Slurm calls the job."""
    return f"quern-{job_id}"
