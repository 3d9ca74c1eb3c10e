"""Answers of a hub, or of whatever answers in its place."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.attack.hostile import hostile
from tests.attack.inside import Ended, quern
from tests.attack.surface import ACCEPTED, UNABLE, WRONG_INPUT, Surface
from tests.support.project import make_project

_INFO = {"id": "org/name", "sha": "c" * 40, "siblings": [{"rfilename": "config.json"}]}
_STATUS = (200, 200, 200, 200, 204, 301, 302, 307, 401, 404, 429, 500, 503)
_HEADERS = (
    ("X-Repo-Commit", "c" * 40),
    ("Content-Encoding", "gzip"),
    ("Content-Encoding", "deflate"),
    ("Content-Encoding", "nonsense"),
    ("Content-Type", "text/html; charset=utf-7"),
    ("Transfer-Encoding", "chunked"),
    ("Content-Length", "5"),
    ("Content-Length", "-1"),
    ("Content-Length", "x"),
    ("Location", "/elsewhere"),
    ("Location", "http://[::bad"),
    ("Location", "file:///etc/passwd"),
    ("Location", "//127.0.0.1:1/x"),
    ("Location", "\x80\xff"),
    ("Set-Cookie", "a=b"),
)


@dataclass(frozen=True)
class Answer:
    """What one server says to everybody."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


answers = st.builds(
    Answer,
    st.sampled_from(_STATUS),
    st.lists(st.sampled_from(_HEADERS), max_size=3).map(tuple),
    hostile(_INFO),
)


@contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """Serve ``answer`` on this machine; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def handle(self) -> None:
            with suppress(OSError):  # the other side had enough
                super().handle()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _meet(answer: Answer, folder: Path) -> Ended:
    project = make_project(folder)
    project.edit(
        '[model.pretrain]\ntext = "story.txt"\n', '[model]\nsource = "hf:org/name@a-branch"\n'
    )
    arguments = ("plan", "--config", str(project.config), "--runtime", "venv")
    with answering(answer) as endpoint:
        ours = {"HF_ENDPOINT": endpoint, "HF_TOKEN": "hf_attack", "NO_PROXY": "127.0.0.1"}
        return quern(*arguments, environment=ours)


HUB = Surface(
    "answers of a hub",
    answers,
    _meet,
    codes=frozenset({ACCEPTED, WRONG_INPUT, UNABLE}),
    count=100,
)
