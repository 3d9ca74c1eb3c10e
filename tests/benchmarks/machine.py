"""What figures are measured on."""

from __future__ import annotations

import platform
from pathlib import Path

import psutil


def machine() -> str:
    """Return CPU, cores and memory of this machine."""
    memory = psutil.virtual_memory().total / 2**30
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0].partition(":")[2].strip() if names else model
    return f"{model}, {psutil.cpu_count()} CPUs, {memory:.0f} GiB, {platform.system()}"
