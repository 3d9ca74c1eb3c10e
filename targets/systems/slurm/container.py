"""The image of a toolchain on a cluster, as a folder: containers without a daemon run it, as plain
children of a job, which end with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from docker.errors import APIError, DockerException
from pydantic import ValidationError

from pipeline.contract.frozen import Frozen
from targets.errors import EnvironmentUnable
from targets.figures import size
from targets.runtimes.runtime import RuntimeName
from targets.systems.room import require_room
from targets.systems.slurm.launch import Free, Launch
from targets.systems.slurm.login import Login, Refused
from targets.systems.system import Say
from targets.toolchain.engine import connect, reason, request_timeout
from targets.toolchain.image import PYTHON, ensure_image, recipe_digest
from targets.toolchain.toolchain import Toolchain, ToolchainRecord

Program = Literal["apptainer", "charliecloud", "pyxis"]

_JOB, _INPUTS = "/quern/job", "/quern/inputs"
"""Where a container sees the folder of the job, which it may write to, and all inputs."""
_COMMANDS = {"apptainer": "apptainer", "charliecloud": "ch-run", "pyxis": "mksquashfs"}
_HAS_PYXIS = "srun --help 2>&1 | grep -q -e --container-image"
_NVIDIA = "NVIDIA_DRIVER_CAPABILITIES=compute,utility"
_SEND_SECONDS = 24 * 3600
_EXPORT_SECONDS = 1800
_PACK = 'mksquashfs "$work/tree" "$work/image" -noappend -quiet -no-progress > /dev/null'
"""Makes one file of an image, as pyxis takes it."""
_UNPACK = (
    'umask 077; work=$(mktemp -d "$1.XXXXXX") && mkdir "$work/tree" && '
    "tar -xf - --no-same-owner --exclude='dev/*' -C \"$work/tree\" && "
    f'mkdir -p "$work/tree{_JOB}" "$work/tree{_INPUTS}" && printf %s "$2" > "$work/made" && '
    'if [ "$3" = pyxis ]; then '
    f'{_PACK} && chmod -R u+w "$work/tree" && mv -f "$work/image" "$1"; '
    'else mv -T "$work/tree" "$1" 2> /dev/null || [ -d "$1" ]; fi && '
    'mv "$work/made" "$1.json" && rm -rf "$work"'
)
"""Unpacks an image, or makes one file of it. It is whole once a file beside it says what it is."""


class _Made(Frozen):
    base: str
    image: str


@dataclass(frozen=True)
class Containers:
    """Containers of one program, whose images lie in ``folder``."""

    login: Login
    folder: str
    program: Program
    cache: Path
    free: Free

    runtime: ClassVar[RuntimeName] = "docker"
    lacks: ClassVar[tuple[str, ...]] = ("that there is no network",)

    def words(self, toolchain: Toolchain) -> str:
        """Return whether the image is there. Raises ``EnvironmentUnable`` without the program."""
        self._require_program()
        if self._made(toolchain) is not None:
            return f"the image of {toolchain.target} is there"
        return f"the image of {toolchain.target} is sent from the engine of this machine"

    def prepare(self, toolchain: Toolchain, say: Say) -> ToolchainRecord:
        """Have the image there."""
        self._require_program()
        made = self._made(toolchain) or self._send(toolchain, say)
        return ToolchainRecord(
            digest=toolchain.digest,
            runtime=self.runtime,
            python=toolchain.python,
            base_image=made.base,
            image=made.image,
            details={"container": self.program},
        )

    def launch(self, toolchain: Toolchain, job: str, inputs: str, gpu: bool) -> Launch:
        """Return how a job starts its process."""
        image = self._image(toolchain)
        if self.program == "pyxis":
            mounts = f"{inputs}:{_INPUTS}:ro,{job}:{_JOB}"
            options = ("readonly", f"image={image}", f"mounts={mounts}")
            without = ("--no-container-mount-home", "--no-container-entrypoint")
            shown = ("env", "NVIDIA_VISIBLE_DEVICES=all", _NVIDIA) if gpu else ()
            container = (f"--container-{option}" for option in options)
            before = (*shown, "srun", "--ntasks=1", "--mpi=none", *container, *without)
        elif self.program == "charliecloud":
            binds = (f"--bind={inputs}:{_INPUTS}", f"--bind={job}:{_JOB}")
            before = ("ch-run", "--no-home", "--private-tmp", *binds, image, "--")
        else:
            binds = (f"--bind={inputs}:{_INPUTS}:ro", f"--bind={job}:{_JOB}")
            nvidia = ("--nv",) if gpu else ()
            # Without this, root has all capabilities in there.
            contained = ("--containall", "--no-home", "--no-privs")
            before = ("apptainer", "exec", *contained, *nvidia, *binds, image)
        return Launch(before, PYTHON, image, _JOB, _INPUTS)

    def _require_program(self) -> None:
        command = _COMMANDS[self.program]
        try:
            self.login.run('command -v "$1"', command)
        except Refused:
            raise EnvironmentUnable(
                f"{self.login.name} has no `{command}` on the path of a login",
                'is it there under another name of a module? `container = "none"` needs none',
            ) from None
        if self.program == "pyxis":
            self._require_pyxis()

    def _require_pyxis(self) -> None:
        try:
            self.login.run(_HAS_PYXIS)
        except Refused:
            raise EnvironmentUnable(
                f"srun of {self.login.name} knows no --container-image: pyxis is not set up there",
                'ask who runs the cluster; `container = "none"` needs no plugin',
            ) from None

    def _image(self, toolchain: Toolchain) -> str:
        end = ".sqsh" if self.program == "pyxis" else ""
        return f"{self.folder}/{recipe_digest(toolchain)[:16]}{end}"

    def _made(self, toolchain: Toolchain) -> _Made | None:
        place = f"{self._image(toolchain)}.json"
        written = self.login.run('[ ! -e "$1" ] || cat "$1"', place)
        try:
            return _Made.model_validate_json(written)
        except ValidationError:
            return None

    def _send(self, toolchain: Toolchain, say: Say) -> _Made:
        client = connect()
        try:
            image = ensure_image(client, toolchain, self.cache, say)
            needed = int(client.images.get(image.id).attrs["Size"])
            require_room(self.login.name, self.free(), needed, f"the image of {toolchain.target}")
            say(f"sending the image of {toolchain.target} to {self.login.name}: {size(needed)}")
            made = _Made(base=image.base, image=image.reference)
            container = client.api.create_container(image.id, network_disabled=True)["Id"]

            def content() -> Iterator[bytes]:
                with request_timeout(client, _EXPORT_SECONDS):
                    yield from client.api.export(container)

            try:
                place, said = self._image(toolchain), json.dumps(made.model_dump())
                given = (place, said, self.program)
                self.login.run(_UNPACK, *given, given=content, seconds=_SEND_SECONDS)
            finally:
                client.api.remove_container(container, force=True)
        except Refused as refused:
            raise EnvironmentUnable(
                f"the image cannot be unpacked on {self.login.name}: {refused}",
                'look at the space there; `container = "none"` needs no image',
            ) from None
        except (APIError, DockerException) as error:
            raise EnvironmentUnable(
                f"the engine of this machine cannot give the image: {reason(error)}",
                'containers on a cluster need one here; `container = "none"` needs none',
            ) from error
        finally:
            client.close()
        return made
