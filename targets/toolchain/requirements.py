"""Reads a hash-locked requirements file, as ``uv pip compile --generate-hashes`` writes it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import InvalidVersion, Version

from targets.errors import EnvironmentUnable

_PIN = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>\S+)$")
_HASH = re.compile(r"^--hash=sha256:(?P<sha256>[0-9a-f]{64})$")
_PYTORCH_LOCAL = re.compile(r"^(cpu|cu\d+|xpu|rocm[\d.]+)$")


@dataclass(frozen=True)
class Pin:
    """One package of a lock: its version, and the SHA-256 of each of its files."""

    name: NormalizedName
    version: Version
    sha256: frozenset[str]

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"

    @property
    def pytorch_index(self) -> str | None:
        """Return PyTorch's index of this version (``2.13.0+cpu``); ``None`` if it has none."""
        local = self.version.local
        if local is None or not _PYTORCH_LOCAL.match(local):
            return None
        return f"https://download.pytorch.org/whl/{local}"

    def requirement(self) -> str:
        """Return the pin as a line of a requirements file."""
        hashes = " ".join(f"--hash=sha256:{digest}" for digest in sorted(self.sha256))
        return f"{self} {hashes}"


def read_lock(path: Path) -> tuple[Pin, ...]:
    """Return every pin of the lock at ``path``, in its order.

    Raises ``EnvironmentUnable`` if the file is missing, has packages without hashes, or contains
    anything that this reader does not support (an index, a path, a marker).
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise EnvironmentUnable(f"{path} is missing", "make it with `nox -s lock`") from None
    return parse_lock(text, path)


def parse_lock(text: str, path: Path) -> tuple[Pin, ...]:
    """Return every pin of the lock ``text``; ``path`` is only for messages."""
    pins: list[Pin] = []
    number = 0
    statement = ""
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if line.startswith("#"):
            continue
        statement += " " + line.removesuffix("\\")
        if not line.endswith("\\"):
            if statement.strip():
                pins.append(_parse_pin(statement.split(), path, number))
            statement = ""
    if statement.strip():
        pins.append(_parse_pin(statement.split(), path, number))
    return tuple(pins)


def _parse_pin(words: list[str], path: Path, line: int) -> Pin:
    head, *hashes_words = words
    pin = _PIN.match(head)
    hashes = [_HASH.match(word) for word in hashes_words]
    if pin is None or not hashes or not all(hashes):
        raise EnvironmentUnable(
            f"{path}:{line}: '{head}' is not a version pinned by SHA-256",
            "make the file again with `nox -s lock`",
        )
    try:
        version = Version(pin["version"])
    except InvalidVersion as error:
        raise EnvironmentUnable(f"{path}:{line}: {error}", "`nox -s lock` makes it again") from None
    digests = frozenset(match["sha256"] for match in hashes if match)
    return Pin(canonicalize_name(pin["name"]), version, digests)
