"""``python -m pipeline.process.free_port NUMBER``: print a port that is free on this machine.

Connections that programs open get ports of a range of the kernel's, and one of these may be taken
before it is used. So it is one below that range, and ``NUMBER``, that of a job, says where the
search begins: two jobs that look at the same time find different ones.
"""

from __future__ import annotations

import socket
import sys

_FIRST, _COUNT = 10_000, 20_000
"""Linux gives connections ports from 32768 on (``net.ipv4.ip_local_port_range``)."""
_STRIDE = 7919
"""A prime, so that the places of jobs with neighbouring numbers are far apart."""


def free_port(number: int) -> int:
    """Return a port that nobody listens on. Raises ``OSError`` if there is none."""
    for offset in range(_COUNT):
        port = _FIRST + (number * _STRIDE + offset) % _COUNT
        try:
            with socket.create_server(("", port)):
                return port
        except OSError:
            continue
    raise OSError(f"every port from {_FIRST} to {_FIRST + _COUNT - 1} is in use")


if __name__ == "__main__":
    print(free_port(int(sys.argv[1])))  # noqa: T201
