"""Engines that answer one question: what they are."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

SERVER = {
    "ApiVersion": "1.41",
    "Os": "linux",
    "Arch": "amd64",
    "Version": "20.10.24",
    "ServerVersion": "20.10.24",
}


@contextmanager
def engine_answering(podman: str = "", **differences: object) -> Iterator[str]:
    """Yield the address of an engine that says this of itself, or of a ``podman`` of this version;
    everything else it refuses."""
    with HTTPServer(("127.0.0.1", 0), _handler({**SERVER, **differences}, podman)) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"tcp://127.0.0.1:{server.server_port}"
        server.shutdown()


def _handler(version: Mapping[str, object], podman: str) -> type[BaseHTTPRequestHandler]:
    class Engine(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(version).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            if podman:
                self.send_header("Libpod-Api-Version", podman)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            """Keep the tests' output clean."""

    return Engine
