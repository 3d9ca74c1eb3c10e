"""The platform whose lock is used: the engine's, where the engine is on another machine."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from targets.runtimes.platform import platform_for
from targets.toolchain.platforms import this_machine

SERVER = {"ApiVersion": "1.41", "Os": "linux", "Arch": "arm64", "Version": "20.10.24"}


class _Engine(BaseHTTPRequestHandler):
    """Answers what an engine on an ARM machine answers when it is asked for its version."""

    def do_GET(self) -> None:
        body = json.dumps(SERVER).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Keep the tests' output clean."""


@pytest.fixture
def elsewhere() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Engine) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"tcp://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_engine_elsewhere_is_asked(elsewhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", elsewhere)
    assert platform_for("docker") == platform_for("auto") == "linux/arm64"
    assert platform_for("venv") == this_machine()


def test_an_engine_here_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    linux = f"linux/{this_machine().partition('/')[2]}"
    assert platform_for("docker") == platform_for("auto") == linux


def test_a_context_of_the_command_line_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: str
) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text('{"currentContext": "arm"}')
    # docker-py reads contexts by the hash of their name, as the command line writes them.
    name = hashlib.sha256(b"arm").hexdigest()
    meta = tmp_path / "contexts" / "meta" / name
    meta.mkdir(parents=True)
    endpoint = {"Host": elsewhere, "SkipTLSVerify": False}
    (meta / "meta.json").write_text(
        json.dumps({"Name": "arm", "Metadata": {}, "Endpoints": {"docker": endpoint}})
    )
    assert platform_for("auto") == "linux/arm64"
