"""The virtual environment of a toolchain on a cluster: made there once, of the locked wheels and
without a network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from targets.digests import Digests
from targets.errors import EnvironmentUnable
from targets.figures import size
from targets.runtimes.runtime import RuntimeName
from targets.systems.room import require_room
from targets.systems.slurm.launch import Free, Launch
from targets.systems.slurm.login import Login, Refused
from targets.systems.system import Say
from targets.systems.tree import TAR_END, Tree, TreeFile
from targets.toolchain.image import COMPILER, LOCK, base_dir
from targets.toolchain.toolchain import Toolchain, ToolchainRecord
from targets.toolchain.wheelhouse import Wheelhouse

_MAKE_SECONDS = 3600
_VERSION = '"$1" -c \'import sys, venv, ensurepip; print("%d.%d" % sys.version_info[:2])\''
_FULL_VERSION = "\"$1\" -c 'import platform; print(platform.python_version())'"
_MAKE = (
    'set -e; cd "$1"; "$2" -m venv made; '
    "made/bin/python -m pip --disable-pip-version-check install --quiet --no-index "
    f"--find-links build --no-deps --require-hashes --requirement build/{LOCK} >&2; "
    f"made/bin/python build/{COMPILER} > /dev/null 2>&1 || true; "
    'rm -r build; mv made "$3" 2> /dev/null || true; rm -rf "$1"; [ -x "$3/bin/python" ]'
)
"""Makes the environment where it is worked on, and gives it its name when it is whole."""
_REMEDY = "name a Python of that version as `python`, by its path there if it is on none"


@dataclass(frozen=True)
class VirtualEnvironments:
    """Environments of one Python, in ``folder``."""

    login: Login
    folder: str
    python: str
    cache: Path
    free: Free

    runtime: ClassVar[RuntimeName] = "venv"
    lacks: ClassVar[tuple[str, ...]] = ("that there is no network", "a read-only root")

    def words(self, toolchain: Toolchain) -> str:
        """Return whether the environment is there, or that it can be made."""
        if self._is_there(toolchain):
            return f"the environment of {toolchain.target} is there"
        _require_python(self.login, self.python, toolchain)
        return f"the environment of {toolchain.target} is made there of the lock's wheels"

    def prepare(self, toolchain: Toolchain, say: Say) -> ToolchainRecord:
        """Have the environment there."""
        place = self._place(toolchain)
        if not self._is_there(toolchain):
            _make(self.login, place, self.python, toolchain, self.cache, self.free(), say)
        version = self.login.run(_FULL_VERSION, f"{place}/bin/python").strip()
        return ToolchainRecord(
            digest=toolchain.digest,
            runtime=self.runtime,
            python=version,
            details={"environment": place.rpartition("/")[2]},
        )

    def launch(self, toolchain: Toolchain, job: str, inputs: str, gpu: bool) -> Launch:  # noqa: ARG002
        """Return how a job starts its process."""
        python = f"{self._place(toolchain)}/bin/python"
        return Launch((), python, python, job, inputs)

    def _place(self, toolchain: Toolchain) -> str:
        return f"{self.folder}/{toolchain.digest[:12]}"

    def _is_there(self, toolchain: Toolchain) -> bool:
        script = '[ ! -x "$1/bin/python" ] || echo there'
        return self.login.run(script, self._place(toolchain)).strip() == "there"


def _require_python(login: Login, python: str, toolchain: Toolchain) -> None:
    """Raise ``EnvironmentUnable`` unless ``python`` can make the environment."""
    try:
        version = login.run(_VERSION, python).strip()
    except Refused as refused:
        raise EnvironmentUnable(
            f"{login.name} cannot run `{python}` with venv and ensurepip: {refused}", _REMEDY
        ) from None
    if version != toolchain.python:
        raise EnvironmentUnable(
            f"`{python}` of {login.name} is Python {version}; the {toolchain.target} toolchain is "
            f"locked for {toolchain.python}",
            _REMEDY,
        )


def _make(
    login: Login, place: str, python: str, toolchain: Toolchain, cache: Path, free: int, say: Say
) -> None:
    """Send the wheels, and make the environment ``place`` of them, each held to its hash.

    Raises ``EnvironmentUnable``.
    """
    _require_python(login, python, toolchain)
    wheels = Wheelhouse(cache / "wheels").ensure(toolchain, say)
    files = (
        *(wheel.path for wheel in wheels),
        toolchain.lock,
        base_dir(toolchain) / COMPILER,
    )
    digests = Digests(cache / "digests.sqlite").files(files)
    names = (*(wheel.path.name for wheel in wheels), LOCK, COMPILER)
    build = Tree(
        tuple(
            TreeFile(name, path, digest, path.stat().st_size)
            for name, path, digest in zip(names, files, digests, strict=True)
        )
    )
    room = build.size + round(1e9 * toolchain.room.installed)
    require_room(login.name, free, room, f"the {toolchain.target} toolchain", "or name another")
    say(f"sending {size(build.size)} to {login.name}, of which it makes the environment")

    def tar() -> Iterator[bytes]:
        yield from build.tar("build")
        yield TAR_END

    script = 'work=$(mktemp -d "$1.XXXXXX") && mkdir "$work/build" && '
    script += 'tar -xf - --no-same-owner -C "$work" >&2 && printf %s "$work"'
    work = login.run(script, place, given=tar, seconds=_MAKE_SECONDS).strip()
    say(f"installing {len(wheels)} wheels on {login.name}")
    try:
        login.run(_MAKE, work, python, place, seconds=_MAKE_SECONDS)
    except Refused as refused:
        login.run('rm -rf "$1"', work)
        raise EnvironmentUnable(
            f"the environment cannot be made on {login.name}: {refused}", _REMEDY
        ) from None
