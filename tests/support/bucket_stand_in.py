"""A small object store on this machine that speaks S3, as far as a shared cache asks it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_NOBODY = (
    b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code><Message>nothing there</Message></Error>'
)
_EMPTY = (
    b'<?xml version="1.0"?><ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false'
    b"</IsTruncated></ListBucketResult>"
)


@contextmanager
def bucket(kept: dict[str, bytes]) -> Iterator[str]:
    """Serve ``kept``, to which what is brought is added by its path; yield the endpoint."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            path = urlsplit(self.path).path
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("If-None-Match") == "*" and path in kept:
                self._say(412, b"")
                return
            kept[path] = content
            self._say(200, b"", content)

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            if "list-type" in address.query:
                self._say(200, _EMPTY)
            elif address.path in kept:
                self._say(200, kept[address.path])
            else:
                self._say(404, _NOBODY)

        do_HEAD = do_GET  # noqa: N815 - http.server's name

        def _say(self, status: int, body: bytes, content: bytes | None = None) -> None:
            self.send_response(status)
            tag = hashlib.md5(body if content is None else content, usedforsecurity=False)
            self.send_header("ETag", f'"{tag.hexdigest()}"')
            self.send_header("Last-Modified", "Mon, 30 Nov 2026 08:00:00 GMT")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
