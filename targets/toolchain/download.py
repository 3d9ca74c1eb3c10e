"""Fetches wheels with the host's pip, for the platform of a toolchain instead of this machine's."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from targets.errors import EnvironmentUnable
from targets.toolchain.platforms import platform_named
from targets.toolchain.requirements import Pin
from targets.toolchain.run_tool import ToolFailed, run_tool
from targets.toolchain.toolchain import Toolchain
from targets.version import invocation

_UNREACHABLE = re.compile(
    r"Failed to establish a new connection|Max retries exceeded|Temporary failure in name"
    r"|Name or service not known|ProxyError|Connect(ion)?Timeout|Read timed out|Connection refused"
    r"|Network is unreachable|Could not fetch URL"
)
_DAMAGED = "DO NOT MATCH THE HASHES"


def download(pins: Sequence[Pin], toolchain: Toolchain, folder: Path) -> list[Path]:
    """Fetch a wheel for every pin into ``folder`` and return their paths.

    pip checks each one against the pin's hashes. A wheel appears under its name only when complete.
    Raises ``EnvironmentUnable`` for wheels that cannot be fetched; the others are kept.
    """
    failures: dict[Pin, ToolFailed] = {}
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
        work = Path(scratch)
        for group in _groups(pins):
            failures.update(_fetch_group(group, toolchain, work))
        arrived = [path.replace(folder / path.name) for path in sorted(work.rglob("*.whl"))]
    if failures:
        raise _unable(failures, folder)
    return arrived


def _groups(pins: Sequence[Pin]) -> list[list[Pin]]:
    """Split ``pins`` into those of any index and those of PyTorch's own index."""
    common = [pin for pin in pins if pin.pytorch_index is None]
    pytorch = [pin for pin in pins if pin.pytorch_index is not None]
    return [group for group in (common, pytorch) if group]


def _fetch_group(pins: list[Pin], toolchain: Toolchain, work: Path) -> dict[Pin, ToolFailed]:
    """Fetch all in one call; if that fails, fetch each one, four at a time. Return the failures."""
    try:
        _pip_download(pins, toolchain, work)
    except ToolFailed as error:
        if len(pins) > 1 and _UNREACHABLE.search(error.output):
            return dict.fromkeys(pins, error)
    else:
        return {}

    def attempt(pin: Pin) -> ToolFailed | None:
        try:
            _fetch_one(pin, toolchain, work)
        except ToolFailed as error:
            return error
        return None

    with ThreadPoolExecutor(max_workers=4) as pool:
        outcomes = zip(pins, pool.map(attempt, pins), strict=True)
        return {pin: error for pin, error in outcomes if error is not None}


def _fetch_one(pin: Pin, toolchain: Toolchain, work: Path) -> None:
    """Fetch from the user's own indexes, or from PyTorch's index if they do not have it."""
    try:
        _pip_download([pin], toolchain, work)
    except ToolFailed:
        if pin.pytorch_index is None:
            raise
        _pip_download([pin], toolchain, work, "--extra-index-url", pin.pytorch_index)


def _pip_download(pins: Sequence[Pin], toolchain: Toolchain, work: Path, *options: str) -> None:
    target = Path(tempfile.mkdtemp(dir=work))
    requirements = target / "requirements.txt"
    requirements.write_text("".join(f"{pin.requirement()}\n" for pin in pins), encoding="utf-8")
    tag = f"cp{toolchain.python.replace('.', '')}"
    platforms = platform_named(toolchain.platform).wheels
    run_tool(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-input"),
            *("--progress-bar", "off", "--disable-pip-version-check", "--retries", "2"),
            *("--require-hashes", "--no-deps", "--only-binary", ":all:"),
            *("--python-version", toolchain.python, "--implementation", "cp"),
            *("--abi", tag, "--abi", "abi3", "--abi", "none"),
            *(word for name in platforms for word in ("--platform", name)),
            *("--dest", str(target), "--requirement", str(requirements), *options),
        ],
        tool="pip",
    )


def _unable(failures: dict[Pin, ToolFailed], folder: Path) -> EnvironmentUnable:
    names = ", ".join(sorted(str(pin) for pin in failures))
    outputs = "\n".join(sorted({error.output for error in failures.values()}))
    if _DAMAGED in outputs:
        hint = "an index serves another file than the lock says: do not trust it, or lock again"
    elif _UNREACHABLE.search(outputs):
        hint = (
            "check the network and pip's index, proxy and certificate settings (`pip config list`),"
            f" put the wheels into {folder}, or bring them with `{invocation('import-toolchain')}`"
        )
    else:
        hint = (
            "no configured index has them: set pip's index-url, extra-index-url or find-links, "
            f"or put the wheels into {folder}"
        )
    last = sorted({error.last_line() for error in failures.values()})[0]
    return EnvironmentUnable(f"cannot fetch {len(failures)} wheel(s): {names}\npip: {last}", hint)
