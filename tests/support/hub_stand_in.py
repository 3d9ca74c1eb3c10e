"""A small hub on this machine: one data set at one commit, as far as the client asks about it."""

from __future__ import annotations

import json
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
def hub(repo: str, files: dict[str, bytes]) -> Iterator[str]:
    """Serve the data set ``repo`` with ``files`` to whoever brings :data:`TOKEN`; yield the
    endpoint."""
    api = f"/api/datasets/{repo}"
    entries = [
        {"type": "file", "path": name, "size": len(content), "oid": "f" * 40}
        for name, content in files.items()
    ]
    info = {"id": repo, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
    answers: dict[str, Any] = {
        f"{api}/revision/main": info,
        f"{api}/revision/{COMMIT}": info,
        f"{api}/tree/{COMMIT}": entries,
        f"{api}/paths-info/{COMMIT}": entries,
    }
    contents = {f"/datasets/{repo}/resolve/{COMMIT}/{name}": raw for name, raw in files.items()}

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = urlsplit(self.path).path
            allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
            known = path in answers or path in contents
            body = contents.get(path) or json.dumps(answers.get(path, {})).encode()
            self.send_response(200 if known and allowed else 404 if allowed else 401)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Repo-Commit", COMMIT)
            if not known:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("ETag", f'"{zlib.crc32(path.encode())}"')
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = answer  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
