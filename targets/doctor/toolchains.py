"""Examines the wheels of toolchains, and the Pythons for virtual environments."""

from __future__ import annotations

import platform
from collections.abc import Iterator

from targets.doctor.finding import RUNTIMES, Finding, Machine
from targets.doctor.network import index_answers
from targets.errors import EnvironmentUnable
from targets.place import building_place
from targets.runtimes.platform import platform_for
from targets.runtimes.runtime import RuntimeName
from targets.toolchain.platforms import builds_without_engine, native
from targets.toolchain.requirements import read_lock
from targets.toolchain.run_tool import ToolFailed
from targets.toolchain.toolchain import Toolchain
from targets.toolchain.uv import uv
from targets.toolchain.venv import venv_python
from targets.toolchain.wheelhouse import Wheelhouse
from targets.version import invocation

_SYSTEM = {"Darwin": "macOS"}.get(platform.system(), platform.system())


def absent(machine: Machine) -> Iterator[Finding]:
    """Report the targets that cannot be built on a machine of this kind."""
    for target in machine.targets:
        try:
            building_place(target, platform_for("docker"))
        except EnvironmentUnable as unable:
            details = {"target": target.name}
            yield Finding("warning", "target", f"{target.name}: {unable}", unable.hint, details)


def wheels(machine: Machine) -> Iterator[Finding]:
    """Count the wheels of each lock; if some are missing, examine whether they can be fetched."""
    for toolchain in machine.toolchains:
        total = len(read_lock(toolchain.lock))
        missing = Wheelhouse(machine.cache / "wheels").missing(toolchain)
        details = {"target": toolchain.target, "total": total, "missing": len(missing)}
        message = f"{toolchain.target}: {total - len(missing)} of {total} wheels are here"
        if not missing:
            yield Finding("ok", "wheelhouse", message, details=details)
        elif index_answers():
            answered = f"{message}; the package index answers"
            yield Finding(
                "ok", "wheelhouse", answered, f"`{invocation('images')}` fetches them", details
            )
        else:
            yield Finding(
                "problem",
                "wheelhouse",
                f"{message}, and pip cannot reach its package index",
                "check the network, and `pip config list` for index, proxy and certificate",
                details,
                _not_ready(machine, toolchain),
            )


def _not_ready(machine: Machine, toolchain: Toolchain) -> tuple[RuntimeName, ...]:
    """Return the runtimes that still need the wheels."""
    ready = {
        "docker": machine.has_image(toolchain),
        "venv": venv_python(toolchain, machine.cache).exists(),
    }
    return tuple(name for name in RUNTIMES if not ready[name])


def environments(machine: Machine) -> Iterator[Finding]:
    """Examine the virtual environment of each toolchain, or whether there is a Python for it."""
    if not builds_without_engine():
        yield _only_in_containers(machine)
    for toolchain in machine.toolchains:
        if toolchain.platform != native():
            continue
        python = venv_python(toolchain, machine.cache)
        details = {"target": toolchain.target, "python": toolchain.python}
        if python.exists():
            message = f"{toolchain.target}: ready at {python.parents[1]}"
            yield Finding("ok", "venv", message, details=details)
            continue
        try:
            interpreter = uv(
                "python", "find", "--no-project", f"cpython-{toolchain.python}"
            ).strip()
        except ToolFailed:
            yield Finding(
                "warning",
                "venv",
                f"{toolchain.target}: no Python {toolchain.python} on this machine",
                f"only `--runtime venv` needs it and then tries to fetch one; "
                f"or `apt-get install python{toolchain.python}-venv`",
                details,
            )
            continue
        message = f"{toolchain.target}: not made yet; Python {toolchain.python} is at {interpreter}"
        remedy = f"`{invocation('images', '--runtime venv')}` makes it"
        yield Finding("ok", "venv", message, remedy, details)


def _only_in_containers(machine: Machine) -> Finding:
    """Return that toolchains which build are locked for Linux alone, and what runs here without."""
    names = ", ".join(one.target for one in machine.toolchains if one.platform == native())
    rest = f"; checks of {names} artifacts run here" if names else ""
    return Finding(
        "warning",
        "venv",
        f"builds run in Linux containers only: no toolchain builds on {_SYSTEM}{rest}",
        "see the line of the engine",
        blocks=("venv",),
    )
