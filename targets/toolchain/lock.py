"""Resolves a toolchain's requirements into the lock of its platform: versions and hashes."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from targets.atomic import replace_file
from targets.errors import EnvironmentUnable
from targets.toolchain.platforms import platform_named
from targets.toolchain.requirements import parse_lock, read_lock
from targets.toolchain.run_tool import ToolFailed
from targets.toolchain.toolchain import Toolchain
from targets.toolchain.uv import index_environment, uv

_PYTORCH_LOCAL = re.compile(r"^torch==\S+\+(?P<backend>cpu|cu\d+)\b", re.MULTILINE)
_CONSTRAINTS = "parent.txt"


@dataclass(frozen=True)
class LockChange:
    """One package whose version differs from the previous lock; ``None`` if it is not in one."""

    name: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        if self.before is None:
            return f"+ {self.name} {self.after}"
        if self.after is None:
            return f"- {self.name} {self.before}"
        return f"  {self.name} {self.before} -> {self.after}"


def lock(
    toolchain: Toolchain,
    upgrade: bool = False,
    command: str = "nox -s lock",
    overrides: str = "",
) -> tuple[LockChange, ...]:
    """Write the lock of ``toolchain`` and return what changed, sorted by name.

    Its header names ``command`` as its origin. Locked versions are kept unless ``upgrade``. The
    resolution is for the toolchain's Python and platform, not for this machine; ``overrides`` are
    uv's. The lock is replaced only when complete.

    Raises ``EnvironmentUnable`` when the requirements cannot be resolved.
    """
    before = _versions(toolchain.lock)
    text = _header(toolchain, command) + _compile(toolchain, upgrade, overrides)
    pins = parse_lock(text, toolchain.lock)
    replace_file(toolchain.lock, text)
    after = {str(pin.name): str(pin.version) for pin in pins}
    names = sorted({*before, *after})
    return tuple(
        LockChange(name, before.get(name), after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    )


def _versions(path: Path) -> Mapping[str, str]:
    if not path.exists():
        return {}
    pins = parse_lock(path.read_text(encoding="utf-8"), path)
    return {str(pin.name): str(pin.version) for pin in pins}


def _header(toolchain: Toolchain, command: str) -> str:
    return (
        f"# Made by `{command}` from {toolchain.requirements} for CPython {toolchain.python} on "
        f"{toolchain.platform}.\n# Do not edit.\n"
    )


def _compile(toolchain: Toolchain, upgrade: bool, overrides: str) -> str:
    for source in toolchain.requirement_files:
        if not source.is_file():
            raise EnvironmentUnable(f"{source} is missing", "it lists what the toolchain needs")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        names = []
        for source in toolchain.requirement_files:
            own = source.parent == toolchain.image_dir
            names.append(source.name if own else f"{source.parent.name}.in")
            (work / names[-1]).write_bytes(source.read_bytes())
        if toolchain.lock.exists() and not upgrade:
            (work / toolchain.lock.name).write_bytes(toolchain.lock.read_bytes())
        constraints = []
        if toolchain.parent is not None:
            # Only the versions: uv would take their hashes for ones that the index must have.
            pins = "".join(f"{pin}\n" for pin in read_lock(toolchain.parent.lock))
            (work / _CONSTRAINTS).write_text(pins, encoding="utf-8")
            constraints = ["--constraints", _CONSTRAINTS]
        arguments = [
            *("pip", "compile", *names, "--output-file", toolchain.lock.name, *constraints),
            *("--directory", folder, "--quiet", "--no-header", "--generate-hashes"),
            *("--no-emit-index-url", "--no-emit-find-links", "--only-binary", ":all:"),
            *("--python-version", toolchain.python),
            *("--python-platform", platform_named(toolchain.platform).uv),
            *(
                "--index-strategy",
                "unsafe-best-match",
            ),  # like pip: the newest version of all indexes
            *(["--upgrade"] if upgrade else []),
        ]
        if overrides:
            (work / "overrides.txt").write_text(overrides, encoding="utf-8")
            arguments += ["--override", "overrides.txt"]
        _resolve(arguments, toolchain.requirement_files)
        return (work / toolchain.lock.name).read_text(encoding="utf-8")


def _resolve(arguments: list[str], sources: Sequence[Path]) -> None:
    """Resolve with the user's own indexes; if that fails, also with PyTorch's index for torch."""
    indexes = index_environment()
    try:
        uv(*arguments, environment=indexes)
        return
    except ToolFailed as error:
        failure = error
    texts = "\n".join(source.read_text(encoding="utf-8") for source in sources)
    backend = _PYTORCH_LOCAL.search(texts)
    if backend is not None:
        try:
            uv(*arguments, "--torch-backend", backend["backend"], environment=indexes)
            return
        except ToolFailed as error:
            failure = error
    raise EnvironmentUnable(
        f"{' and '.join(map(str, sources))} cannot be resolved:\n{failure.output.strip()}",
        "check the requirements, and that pip's configured indexes can be reached",
    )
