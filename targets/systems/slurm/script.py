"""The script of a job: where steps read and write, and what they see."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from pipeline.contract.plan import unfinished_root
from targets.systems.slurm.launch import Launch
from targets.systems.task import Task

ENDED, UNABLE = "ended", "unable"
"""Files with the exit code of the process, and with why there was none."""
EVENTS, LOG = "events", "log"
"""Files that the job writes to: its standard output and its standard error."""
PLAN, VARIABLES = "plan.json", "variables.json"
_PASSED_ON = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL")
"""Of the job's variables, those that a step gets to see: Slurm says there which GPUs it has."""


def job_script(
    folder: str,
    launch: Launch,
    task: Task,
    *,
    variables: Mapping[str, str],
    needs: Iterable[str],
    secret: bool,
) -> str:
    """Return the script of a job in ``folder``, whose process starts as ``launch`` says.

    ``variables`` is all that its process sees, but for secrets, which it reads from a file.
    ``needs`` are the instruction sets that the CPU must have.
    """
    roots = {part.root: f"roots/{part.root}" for part in task.inputs}
    roots = {**roots, "work": "work", "objects": "roots/objects"}
    roots |= {root: root for root in unfinished_roots(task)}
    command = [launch.python, "-m", "pipeline", f"{launch.job}/{PLAN}"]
    for root, path in sorted(roots.items()):
        command += ["--root", f"{root}={launch.job}/{path}"]
    if secret:
        command += ["--variables", f"{launch.job}/{VARIABLES}"]
    lines = [
        "#!/bin/sh",
        "umask 077",
        f"cd {shlex.quote(folder)} || exit 1",
        f'unable() {{ echo "$1" > {UNABLE}.partial && mv {UNABLE}.partial {UNABLE}; exit 1; }}',
        *(
            f'grep -qw {flag} /proc/cpuinfo || unable "the CPU of $(hostname) lacks {flag}, which '
            'the toolchains use"'
            for flag in needs
        ),
        f'[ -e {shlex.quote(launch.present)} ] || unable "$(hostname) lacks {launch.present}"',
        f"mkdir -p home code work {' '.join(sorted(map(shlex.quote, _parents(roots, task))))}",
        f"ln -s {shlex.quote(f'{launch.inputs}/{task.code}')} code/pipeline",
        *_links(roots, launch.inputs, task),
        'set -- "PATH=/usr/local/bin:/usr/bin:/bin"',
        *(f'[ -z "${{{name}+set}}" ] || set -- "$@" "{name}=${name}"' for name in _PASSED_ON),
        f'{shlex.join(launch.before)} env -i "$@" {_assigned(variables)} {shlex.join(command)}',
        "code=$?",
        f"echo $code > {ENDED}.partial && mv {ENDED}.partial {ENDED}",
        "exit $code",
    ]
    return "\n".join(lines) + "\n"


def _parents(roots: Mapping[str, str], task: Task) -> set[str]:
    """Return the folders that hold the links to inputs."""
    found = {roots["objects"]}
    for part in task.inputs:
        found.add(str(PurePosixPath(roots[part.root], part.path).parent))
    return found


def _links(roots: Mapping[str, str], inputs: str, task: Task) -> list[str]:
    places = {str(PurePosixPath(roots[part.root], part.path)): part.digest for part in task.inputs}
    return [
        f"ln -s {shlex.quote(f'{inputs}/{digest}')} {shlex.quote(place)}"
        for place, digest in sorted(places.items())
    ]


def _assigned(variables: Mapping[str, str]) -> str:
    return " ".join(shlex.quote(f"{name}={value}") for name, value in sorted(variables.items()))


def unfinished_roots(task: Task) -> tuple[str, ...]:
    """Return the folders of a job in which steps keep what they can go on with."""
    return tuple(unfinished_root(step.key) for step in task.plan.steps if step.resumes)


def job_name(job_id: str) -> str:
    """Return what Slurm calls the job."""
    return f"quern-{job_id}"
