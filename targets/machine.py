"""The CPU, cores and operating system of this machine, without its name."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pipeline.contract.schema import Resources
from targets.errors import EnvironmentUnable

_CPU_INFO = Path("/proc/cpuinfo")
_SYSCTL = ("sysctl", "-n", "machdep.cpu.brand_string")
_REGISTERED = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
_X86_64_V3 = ("abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave")
"""Instruction sets that level 3 of the x86-64 psABI adds, by the names of ``/proc/cpuinfo``."""
NEEDED_FLAGS = ("avx2", "f16c", "fma")
"""Those that the libraries are told to use without detecting them (``targets/*.toml``): a CPU
without them ends the process with an illegal instruction. The others are not required, because some
virtual machines hide them."""


def cpu_name() -> str:
    """Return the model name of the CPU."""
    named = _cpu_info("model name", "Model") or _named_elsewhere()
    return named or platform.processor() or platform.machine()


def _named_elsewhere() -> str:
    """Return what macOS and Windows call the CPU; empty on other systems."""
    if sys.platform == "win32":
        import winreg

        with suppress(OSError), winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, _REGISTERED) as key:
            return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
    if sys.platform == "darwin":
        with suppress(OSError):
            return subprocess.run(_SYSCTL, capture_output=True, text=True).stdout.strip()
    return ""


def lacking_instructions() -> tuple[str, ...] | None:
    """Return the instruction sets of x86-64-v3 that this CPU lacks; ``None`` if that is unknown, as
    on other systems than Linux and on other CPUs."""
    flags = _cpu_info("flags").split()
    return tuple(name for name in _X86_64_V3 if name not in flags) if flags else None


def lacking(flags: Sequence[str]) -> tuple[str, ...]:
    """Return which of the instruction sets that the libraries use a CPU with ``flags`` lacks; none
    if that is unknown."""
    return tuple(name for name in NEEDED_FLAGS if name not in flags) if flags else ()


def require_instructions() -> None:
    """Raise ``EnvironmentUnable`` on a CPU without the instructions that the libraries use."""
    missing = lacking(_cpu_info("flags").split())
    if missing:
        raise EnvironmentUnable(
            f"this CPU lacks {', '.join(missing)} of x86-64-v3, which the toolchains use",
            "use a machine with AVX2 and FMA: Intel's since Haswell (2013), AMD's since Excavator",
        )


def _cpu_info(*names: str) -> str:
    """Return the first entry of ``/proc/cpuinfo`` with one of ``names``; empty if there is none."""
    with suppress(OSError):
        for line in _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in names:
                return value.strip()
    return ""


def usable_cores() -> int:
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads(resources: Resources, cores: int | None = None) -> int:
    """Return how many threads the libraries may use on a machine with ``cores``; by default this
    one."""
    if resources.threads is not None:
        return resources.threads
    machine = usable_cores() if cores is None else cores
    if resources.cpus is not None:
        return max(1, min(int(resources.cpus), machine))
    return machine


def system_name() -> str:
    """Return operating system and architecture: ``Linux 6.1.0, x86_64``."""
    return f"{platform.system()} {platform.release()}, {platform.machine()}"
