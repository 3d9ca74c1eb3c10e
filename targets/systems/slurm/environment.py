"""The virtual environment of a toolchain on a cluster: made there once, of the locked wheels and
without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from targets.digests import Digests
from targets.errors import EnvironmentUnable
from targets.figures import size
from targets.systems.room import require_room
from targets.systems.slurm.login import Login, Refused
from targets.systems.system import Say
from targets.systems.tree import TAR_END, Tree, TreeFile
from targets.toolchain.image import COMPILER, LOCK, base_dir
from targets.toolchain.toolchain import Toolchain
from targets.toolchain.wheelhouse import Wheelhouse

_MAKE_SECONDS = 3600
_VERSION = '"$1" -c \'import sys, venv, ensurepip; print("%d.%d" % sys.version_info[:2])\''
_MAKE = (
    'set -e; cd "$1"; "$2" -m venv made; '
    "made/bin/python -m pip --disable-pip-version-check install --quiet --no-index "
    f"--find-links build --no-deps --require-hashes --requirement build/{LOCK} >&2; "
    f"made/bin/python build/{COMPILER} > /dev/null 2>&1 || true; "
    'rm -r build; mv made "$3" 2> /dev/null || true; rm -rf "$1"; [ -x "$3/bin/python" ]'
)
"""Makes the environment where it is worked on, and gives it its name when it is whole."""
_REMEDY = "name a Python of that version as `python`, by its path there if it is on none"


def environment_dir(folder: str, toolchain: Toolchain) -> str:
    """Return where the environment of ``toolchain`` is there, made or not."""
    return f"{folder}/toolchains/{toolchain.digest[:12]}"


def is_there(login: Login, place: str) -> bool:
    """Return whether the environment ``place`` is there."""
    return login.run('[ ! -x "$1/bin/python" ] || echo there', place).strip() == "there"


def require_python(login: Login, python: str, toolchain: Toolchain) -> None:
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


def make_environment(
    login: Login, place: str, python: str, toolchain: Toolchain, cache: Path, free: int, say: Say
) -> None:
    """Send the wheels, and make the environment ``place`` of them, each held to its hash.

    Raises ``EnvironmentUnable``.
    """
    require_python(login, python, toolchain)
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
