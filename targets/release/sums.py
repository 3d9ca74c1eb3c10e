"""``SHA256SUMS``, as ``sha256sum --check`` reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from targets.errors import CheckFailed

_LINE = re.compile(r"(?P<sha256>[0-9a-f]{64})  (?P<path>[^\\\n]+)")


def write_sums(digests: Mapping[str, str]) -> bytes:
    """Return one line per path, sorted. Raises ``ValueError`` for a newline or backslash in one."""
    for path in digests:
        if "\n" in path or "\\" in path:
            raise ValueError(f"{path!r} cannot be written to SHA256SUMS")
    return "".join(f"{sha256}  {path}\n" for path, sha256 in sorted(digests.items())).encode()


def read_sums(content: bytes, name: str) -> dict[str, str]:
    """Return the digest of each path. Raises ``CheckFailed`` with ``name``, the file's name."""
    digests: dict[str, str] = {}
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if match is None or match["path"] in digests:
            raise CheckFailed(f"{name}:{number} is not a line that sha256sum writes")
        digests[match["path"]] = match["sha256"]
    if write_sums(digests) != content:
        raise CheckFailed(f"{name} is not as Quern writes it")
    return digests
