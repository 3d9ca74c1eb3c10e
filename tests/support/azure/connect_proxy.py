"""A proxy that leads the names of a cloud to ports of this machine, and nowhere else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def connect_proxy(port_of: Callable[[str], int | None]) -> Iterator[int]:
    """Run the proxy until the block ends; yield its port. ``port_of`` says where a host is."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):
            while True:
                end, _ = listener.accept()
                threading.Thread(target=_serve, args=(end, port_of), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.close()


def _serve(end: socket.socket, port_of: Callable[[str], int | None]) -> None:
    with suppress(OSError), end:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = end.recv(4096)
            if not piece:
                return
            head += piece
        method, target, _ = head.decode("latin-1").split(" ", 2)
        host = target.rpartition(":")[0]
        port = port_of(host) if method == "CONNECT" else None
        if port is None:
            end.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", port)) as other:
            end.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=_pump, args=(other, end), daemon=True)
            back.start()
            _pump(end, other)
            back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
