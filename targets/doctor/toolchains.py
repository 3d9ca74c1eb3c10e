"""Examines the wheels of toolchains, and the Pythons for virtual environments."""

from __future__ import annotations

from collections.abc import Iterator

from targets.doctor.finding import RUNTIMES, Finding, Machine
from targets.doctor.network import index_answers
from targets.runtimes.runtime import RuntimeName
from targets.toolchain.requirements import read_lock
from targets.toolchain.run_tool import ToolFailed
from targets.toolchain.toolchain import Toolchain
from targets.toolchain.uv import uv
from targets.toolchain.venv import venv_python
from targets.toolchain.wheelhouse import Wheelhouse
from targets.version import invocation


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
    for toolchain in machine.toolchains:
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
