"""Makes a toolchain's virtual environment on this machine, if there is no engine."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from targets.atomic import sibling_folder
from targets.disk import CACHE_REMEDY, Need
from targets.errors import EnvironmentUnable
from targets.toolchain.debian.extra_files import extra_files
from targets.toolchain.image import COMPILER, base_dir
from targets.toolchain.platforms import native
from targets.toolchain.run_tool import ToolFailed, run_tool
from targets.toolchain.toolchain import Toolchain
from targets.toolchain.uv import uv
from targets.toolchain.wheelhouse import Wheelhouse


@dataclass(frozen=True)
class Venv:
    """A complete virtual environment."""

    folder: Path
    python_version: str
    """Version of its interpreter: ``3.11.7``."""


def venv_dir(toolchain: Toolchain, cache: Path) -> Path:
    """Return the folder of the environment of ``toolchain``, which need not exist yet."""
    return cache / "venvs" / toolchain.digest[:12]


def venv_python(toolchain: Toolchain, cache: Path) -> Path:
    """Return the interpreter of that environment."""
    return _python_in(venv_dir(toolchain, cache), toolchain)


def _python_in(folder: Path, toolchain: Toolchain) -> Path:
    windows = toolchain.platform.startswith("windows/")
    return folder / "Scripts" / "python.exe" if windows else folder / "bin" / "python"


def venv_needs(toolchain: Toolchain, cache: Path) -> tuple[Need, ...]:
    """Return the disk space for an environment that has to be made, with its wheels."""
    if _version(venv_dir(toolchain, cache), toolchain) is not None:
        return ()
    wheels = Wheelhouse(cache / "wheels").lacks(toolchain)
    room = wheels + round(1e9 * toolchain.room.installed)
    return (Need(cache, room, f"the {toolchain.target} toolchain", CACHE_REMEDY),)


def ensure_venv(toolchain: Toolchain, cache: Path, say: Callable[[str], None]) -> Venv:
    """Return the environment of ``toolchain``, making it if it does not exist.

    It appears under its name only when complete. Raises ``EnvironmentUnable``.
    """
    folder = venv_dir(toolchain, cache)
    version = _version(folder, toolchain)
    if version is not None:
        return Venv(folder, version)
    _require_platform(toolchain)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            _make(toolchain, cache, folder, say)
    version = _version(folder, toolchain)
    if version is None:
        raise EnvironmentUnable(
            f"the environment {folder} does not work", "remove that folder and run again"
        )
    return Venv(folder, version)


def _version(folder: Path, toolchain: Toolchain) -> str | None:
    """Return the Python version of a working environment: its interpreter must still exist."""
    if not _python_in(folder, toolchain).exists():
        return None
    for line in (folder / "pyvenv.cfg").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "version_info":
            return value.strip()
    return None


def _require_platform(toolchain: Toolchain) -> None:
    if toolchain.platform != native():
        raise EnvironmentUnable(
            f"the {toolchain.target} toolchain is locked for {toolchain.platform}, this is "
            f"{native()}",
            "use `--runtime docker`",
        )


def _make(toolchain: Toolchain, cache: Path, folder: Path, say: Callable[[str], None]) -> None:
    wheels = Wheelhouse(cache / "wheels").ensure(toolchain, say)
    interpreter = _find_python(toolchain.python, say)
    say(f"installing {len(wheels)} wheels into {folder}")
    with sibling_folder(folder) as scratch:
        partial = scratch / "venv"
        python = _python_in(partial, toolchain)
        unpacked = {"UV_CACHE_DIR": f"{scratch}/unpacked"}  # hard links: costs no extra space
        try:
            uv("venv", "--quiet", "--relocatable", "--python", interpreter, str(partial))
            uv(
                *("pip", "install", "--quiet", "--python", str(python), "--offline", "--no-index"),
                *("--find-links", str(cache / "wheels"), "--no-deps", "--require-hashes"),
                *("--requirement", str(toolchain.lock)),
                environment=unpacked,
            )
            compiler = base_dir(toolchain) / COMPILER
            for name, content in extra_files(toolchain, cache, say).items():
                (partial / "lib" / name).parent.mkdir(parents=True, exist_ok=True)
                (partial / "lib" / name).write_bytes(content)
            run_tool([str(python), str(compiler)], tool="compileall", environment=dict(os.environ))
        except ToolFailed as error:
            raise EnvironmentUnable(
                f"the environment cannot be made: {error}\n{error.output.strip()}",
                "`python -m targets doctor` says what is missing",
            ) from error
        partial.rename(folder)


def _find_python(version: str, say: Callable[[str], None]) -> str:
    """Return a CPython ``version`` of this machine; fetch one if there is none."""
    request = ("--no-project", f"cpython-{version}")
    try:
        return uv("python", "find", *request).strip()
    except ToolFailed:
        say(f"no Python {version} on this machine; fetching one")
    try:
        uv("python", "install", "--quiet", version)
        return uv("python", "find", *request).strip()
    except ToolFailed as error:
        raise EnvironmentUnable(
            f"no Python {version} on this machine, and none can be fetched: {error.last_line()}",
            f"install Python {version} (e.g. `apt-get install python{version}`) or a Docker Engine",
        ) from error
