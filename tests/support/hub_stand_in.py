"""A small hub on this machine: one repository at one commit, as far as a client asks about it."""

from __future__ import annotations

import json
import re
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

COMMIT = "c" * 40
TOKEN = "hub-token-of-the-test"  # noqa: S105 - of this stand-in alone


@contextmanager
def hub(
    repo: str,
    files: dict[str, bytes],
    kind: str = "dataset",
    sent: list[int] | None = None,
    listing: bytes | None = None,
    elsewhere: str = "",
) -> Iterator[str]:
    """Serve the data set or model ``repo`` with ``files`` to whoever brings :data:`TOKEN`; yield
    the endpoint. The lengths of all answers are added to ``sent``; ``listing`` is sent in place of
    the list of files. Contents are those of the :func:`store` at ``elsewhere``, if that is given:
    as large files of the real hub, they are not sent but pointed to."""
    api = f"/api/{kind}s/{repo}"
    entries = [
        {"type": "file", "path": name, "size": len(content), "oid": "f" * 40}
        for name, content in files.items()
    ]
    siblings = [{"rfilename": name, "size": len(content)} for name, content in files.items()]
    info = {"id": repo, "sha": COMMIT, "siblings": siblings}
    answers: dict[str, Any] = {
        api: info,
        f"{api}/revision/main": info,
        f"{api}/revision/{COMMIT}": info,
        f"{api}/tree/{COMMIT}": entries,
        f"{api}/paths-info/{COMMIT}": entries,
    }
    at = f"/datasets/{repo}" if kind == "dataset" else f"/{repo}"
    contents = {f"{at}/resolve/{COMMIT}/{name}": raw for name, raw in files.items()}

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = urlsplit(self.path).path
            allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
            known = path in answers or path in contents
            body = contents.get(path) or json.dumps(answers.get(path, {})).encode()
            if listing is not None and "/revision/" in path:
                body = listing
            if elsewhere and path in contents and allowed:
                self.send_response(302)
                self.send_header("Location", elsewhere + path)
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("X-Linked-ETag", f'"{zlib.crc32(path.encode())}"')
                self.send_header("X-Linked-Size", str(len(contents[path])))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
            part = 206 if span and known and allowed else 200
            self.send_response(part if known and allowed else 404 if allowed else 401)
            if span and part == 206:
                begin, last = int(span[1]), int(span[2] or len(body))
                total, body = len(body), body[begin : last + 1]
                end = begin + len(body) - 1
                self.send_header("Content-Range", f"bytes {begin}-{end}/{total}")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Repo-Commit", COMMIT)
            if not known:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("ETag", f'"{zlib.crc32(path.encode())}"')
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)
                if sent is not None:
                    sent.append(len(body))

        do_GET = do_HEAD = do_POST = answer  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with _serving("127.0.0.1", Handler) as address:
        yield address


@contextmanager
def store(files: dict[str, bytes], tokens: list[str | None]) -> Iterator[str]:
    """Serve ``files``, by the ends of their addresses, to whoever asks; yield the address, which is
    that of another host than :func:`hub`'s. What each asks with is added to ``tokens``."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            tokens.append(self.headers.get("Authorization"))
            body = files[urlsplit(self.path).path.rpartition("/")[2]]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{zlib.crc32(body)}"')
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = answer  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with _serving("localhost", Handler) as address:
        yield address


@contextmanager
def _serving(name: str, handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer((name, 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://{name}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
