"""The mirrors that a Debian host's apt is configured to use."""

from __future__ import annotations

import re
from collections.abc import Mapping

from targets.toolchain.run_tool import output_of

_INDEX = re.compile(
    r"^'(?P<uri>[^']+/)dists/(?P<release>[^/']+)/main/binary-[^/']+/Packages", re.MULTILINE
)
"""A line of ``apt-get --print-uris update``, which needs neither root nor lists fetched before."""


def mirrors(suite: str) -> Mapping[str, tuple[str, ...]]:
    """Return the URIs, each with a slash at its end, of ``suite``, its updates and its security.

    Keys are releases: ``bookworm``, ``bookworm-security``. A host of another Debian release uses
    the same mirrors. Empty if the host is not Debian or its mirrors are unknown.
    """
    release = output_of("sh", "-c", '. /etc/os-release && echo "$ID $VERSION_CODENAME"').split()
    if len(release) != 2 or release[0] != "debian":
        return {}
    return mirrors_in(output_of("apt-get", "--print-uris", "update"), release[1], suite)


def mirrors_in(listing: str, host: str, suite: str) -> Mapping[str, tuple[str, ...]]:
    """Return the mirrors of ``suite``, from the URIs that apt on a ``host`` release would fetch."""
    names = {f"{host}{part}": f"{suite}{part}" for part in ("", "-updates", "-security")}
    by_suite: dict[str, list[str]] = {}
    for match in _INDEX.finditer(listing):
        name = names.get(match["release"])
        if name and match["uri"] not in by_suite.setdefault(name, []):
            by_suite[name].append(match["uri"])
    return (
        {name: tuple(uris) for name, uris in sorted(by_suite.items())} if suite in by_suite else {}
    )
