"""A proxy before a server of objects that counts what is asked, and fails as networks do."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from tests.support.object_stores.server import ObjectServer

_BREAK = struct.pack("ii", 1, 0)
"""Ends a connection at once, with what is on its way (``SO_LINGER``)."""


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    number: int
    """How many requests came before it."""
    range: str
    """Which bytes it wants (``bytes=5-``); empty for all."""


@dataclass(frozen=True)
class Fault:
    """What happens to a request. Without any member, nothing."""

    status: int | None = None
    """Answers with this status, and does not ask the server."""
    body: bytes = b""
    """With that answer."""
    cut_up: int | None = None
    """Breaks the connection after so many bytes of the request's body."""
    cut_down: int | None = None
    """Breaks it after so many bytes of the answer's body."""
    flip: int | None = None
    """Flips the lowest bit of this byte of the answer's body."""
    hang: bool = False
    """Never answers."""
    unanswered: bool = False
    """Breaks the connection after the server has done what it was asked."""
    seconds: float = 0
    """Waits so long before it asks the server."""


Rule = Callable[[Asked], Fault | None]


@dataclass
class FaultyProxy:
    """A running proxy: where it listens, what was asked of it, and what happens to a request."""

    port: int
    asked: list[Asked] = field(default_factory=list)
    rule: Rule = lambda _asked: None
    closed: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, method: str, path: str, wanted: str) -> Fault:
        """Note a request and return what happens to it."""
        with self.lock:
            # Google's library writes %2F for a slash of an object's name.
            asked = Asked(method, unquote(path), len(self.asked), wanted)
            self.asked.append(asked)
        return self.rule(asked) or Fault()


@contextmanager
def faulty_proxy(upstream: ObjectServer) -> Iterator[FaultyProxy]:
    """Run a proxy before a server that does not speak TLS."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

        def forward(self) -> None:
            fault = proxy.note(self.command, self.path, self.headers.get("Range", ""))
            length = int(self.headers.get("Content-Length") or 0)
            if fault.hang:
                proxy.closed.wait()
                self.cut()
                return
            if fault.cut_up is not None:
                self.rfile.read(min(fault.cut_up, length))
                self.cut()
                return
            content = self.rfile.read(length)
            if fault.status is not None:
                self.answer(fault.status, {}, fault.body, None)
                return
            time.sleep(fault.seconds)
            connection = HTTPConnection("127.0.0.1", upstream.port)
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(content)
            response = connection.getresponse()
            body = response.read()
            headers = {name.title(): value for name, value in response.getheaders()}
            connection.close()
            if fault.unanswered:
                self.cut()
                return
            if fault.flip is not None:
                changed = bytearray(body)
                changed[fault.flip] ^= 1
                body = bytes(changed)
            self.answer(response.status, headers, body, fault.cut_down)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward  # noqa: N815

        def answer(
            self, status: int, headers: dict[str, str], body: bytes, cut_down: int | None
        ) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name not in {"Transfer-Encoding", "Content-Length", "Connection"}:
                    self.send_header(name, value)
            of_head = headers.get("Content-Length", "0")
            self.send_header(
                "Content-Length", of_head if self.command == "HEAD" else str(len(body))
            )
            self.end_headers()
            self.wfile.write(body if cut_down is None else body[:cut_down])
            if cut_down is not None:
                self.wfile.flush()
                time.sleep(0.1)  # or the client would lose what has arrived
                self.cut()

        def cut(self) -> None:
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _BREAK)
            self.connection.close()

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, *_arguments: object) -> None:
            """Say nothing: a connection that is cut is what tests want."""

    server = Server(("127.0.0.1", 0), Handler)
    proxy = FaultyProxy(server.server_port)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.closed.set()
        server.shutdown()
        server.server_close()
