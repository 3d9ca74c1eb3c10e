"""A hub on this machine that takes commits, as far as its own client asks: it makes repositories,
and takes large files by Git LFS."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

TOKEN = "hf_token-of-the-test-that-nobody-shows"  # noqa: S105 - of this stand-in alone
LARGE = 10_000
"""Bytes from which on it wants a file by LFS."""


@dataclass
class WrittenHub:
    """What was written: files by repository, and who was refused."""

    endpoint: str = ""
    private: dict[str, bool] = field(default_factory=dict)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


@contextmanager
def writable_hub() -> Iterator[WrittenHub]:
    """Yield a hub whose token is :data:`TOKEN`."""
    hub = WrittenHub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self._answer()

        def do_PUT(self) -> None:
            self._answer()

        def _answer(self) -> None:
            body = self._body()
            path = urlsplit(self.path).path
            known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
            if not known and not path.startswith("/lfs/"):
                hub.refused.append(path)
                self._send(401, {"error": "Invalid username or password."})
                return
            status, answer = _reply(hub, path, body)
            self._send(status, answer)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            whole = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                whole += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return whole

        def _send(self, status: int, answer: Any) -> None:
            raw = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def _reply(hub: WrittenHub, path: str, body: bytes) -> tuple[int, Any]:
    if path.startswith("/lfs/"):
        oid = path.removeprefix("/lfs/")
        if hashlib.sha256(body).hexdigest() != oid:
            return 400, {"error": "another content"}
        hub.blobs[oid] = body
        return 200, {}
    if path == "/api/repos/create":
        asked = json.loads(body)
        repo = "/".join(part for part in (asked.get("organization"), asked["name"]) if part)
        hub.private[repo] = asked.get("private") is True or asked.get("visibility") == "private"
        hub.files.setdefault(repo, {})
        return 200, {"url": f"{hub.endpoint}/{repo}", "id": repo, "name": repo}
    if path == "/api/validate-yaml":
        return 200, {"errors": [], "warnings": []}
    if path.endswith(".git/info/lfs/objects/batch"):
        return 200, {"transfer": "basic", "objects": [_lfs(hub, one) for one in _objects(body)]}
    api, _, rest = path.removeprefix("/api/models/").partition("/preupload/")
    if rest:
        files = [_mode(one) for one in json.loads(body)["files"]]
        return (200, {"files": files}) if api in hub.files else (404, {"error": "no repository"})
    repo, _, revision = path.removeprefix("/api/models/").partition("/commit/")
    if revision == "main" and repo in hub.files:
        return 200, _commit(hub, repo, body)
    return 404, {"error": f"nothing at {path}"}


def _objects(body: bytes) -> list[dict[str, Any]]:
    objects: list[dict[str, Any]] = json.loads(body)["objects"]
    return objects


def _lfs(hub: WrittenHub, one: dict[str, Any]) -> dict[str, Any]:
    if one["oid"] in hub.blobs:
        return one  # it is there already
    upload = {"href": f"{hub.endpoint}/lfs/{one['oid']}", "header": {}}
    return {**one, "actions": {"upload": upload}}


def _mode(one: dict[str, Any]) -> dict[str, Any]:
    large = one["size"] >= LARGE
    mode = "lfs" if large else "regular"
    return {"path": one["path"], "uploadMode": mode, "shouldIgnore": False}


def _commit(hub: WrittenHub, repo: str, body: bytes) -> dict[str, Any]:
    for line in body.splitlines():
        entry = json.loads(line)
        value = entry["value"]
        if entry["key"] == "header":
            hub.messages.append(value["summary"])
        elif entry["key"] == "file":
            hub.files[repo][value["path"]] = base64.b64decode(value["content"])
        elif entry["key"] == "lfsFile":
            hub.files[repo][value["path"]] = hub.blobs[value["oid"]]
    url = f"{hub.endpoint}/{repo}/commit/{'c' * 40}"
    return {"success": True, "commitOid": "c" * 40, "commitUrl": url, "hookOutput": ""}
