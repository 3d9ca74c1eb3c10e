"""The machines that train together: how many, which of them this is, and where they meet.

Whoever starts the process on each of them says so in its environment; one that is alone has none of
these variables.
"""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass

VARIABLE = "QUERN_MACHINE"
"""``NUMBER/COUNT@ADDRESS:PORT``: which machine this is, from 0, and where the first one listens."""
REACHED = "QUERN_REACHED"
"""Address of another one of them. Default: that of the first."""

_WRITTEN = re.compile(r"(\d{1,4})/(\d{1,4})@([\w.:%-]+):(\d{1,5})", re.ASCII)
_SIOCGIFADDR = 0x8915


@dataclass(frozen=True)
class Machines:
    """One of several machines that train together."""

    number: int
    count: int
    address: str
    port: int
    reached: str

    @property
    def first(self) -> bool:
        """Return whether its results count."""
        return self.number == 0


def machines(environ: Mapping[str, str]) -> Machines | None:
    """Return which machine this is; ``None`` if it trains alone. Raises ``ValueError``."""
    written = environ.get(VARIABLE)
    if written is None:
        return None
    match = _WRITTEN.fullmatch(written)
    if match is None or not int(match[1]) < int(match[2]):
        raise ValueError(f"{VARIABLE} is '{written}', not NUMBER/COUNT@ADDRESS:PORT")
    reached = environ.get(REACHED) or match[3]
    return Machines(int(match[1]), int(match[2]), match[3], int(match[4]), reached)


def interface_to(address: str) -> str | None:
    """Return the network interface through which this machine reaches ``address``; ``None`` if the
    kernel does not say.

    gloo would take the one that this machine's own name leads to, which is often the loopback.
    """
    try:
        (family, kind, protocol, _, to), *_ = socket.getaddrinfo(address, 9, type=socket.SOCK_DGRAM)
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(to)  # nothing is sent
            own = str(probe.getsockname()[0])
    except OSError:
        return None
    if own.startswith("127."):
        return "lo"
    return next((name for _, name in socket.if_nameindex() if _address_of(name) == own), None)


def _address_of(interface: str) -> str | None:
    """Return its IPv4 address: https://man7.org/linux/man-pages/man7/netdevice.7.html"""
    if sys.platform == "win32":
        return None
    import fcntl

    request = interface.encode()[:15].ljust(40, b"\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            answer = fcntl.ioctl(asked.fileno(), _SIOCGIFADDR, request)
        except OSError:
            return None
    return socket.inet_ntoa(answer[20:24])
