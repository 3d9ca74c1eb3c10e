"""A hub is asked which commit a branch is, over a real connection; what it answers is input."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from targets.config.hub import HubModel, parse_hub_model, pinned
from targets.errors import ConfigError, EnvironmentUnable
from targets.runtimes.hub_settings import hub_environment
from tests.support.capabilities import program

TOKEN = "hf_of_this_test_alone"  # noqa: S105
COMMIT = "0123456789abcdef" * 2 + "01234567"


@dataclass
class Server:
    """A server that answers everything alike, and notes what it was asked with which token."""

    name: str
    """The name of this machine by which it is addressed: two names are two hosts."""
    body: bytes = b""
    status: int = 200
    location: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    port: int = 0

    @property
    def address(self) -> str:
        return f"http://{self.name}:{self.port}"


def serve(server: Server, secured: ssl.SSLContext | None = None) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append((self.path, self.headers.get("Authorization")))
            self.send_response(302 if server.location else server.status)
            if server.location:
                self.send_header("Location", server.location + self.path)
            self.send_header("Content-Length", str(len(server.body)))
            self.end_headers()
            self.wfile.write(server.body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    listening = ThreadingHTTPServer((server.name, 0), Handler)
    if secured is not None:
        listening.socket = secured.wrap_socket(listening.socket, server_side=True)
    server.port = listening.server_port
    threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    listening.shutdown()
    listening.server_close()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    for server in serve(Server("127.0.0.1", json.dumps({"sha": COMMIT}).encode())):
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


@pytest.fixture
def other() -> Iterator[Server]:
    yield from serve(Server("localhost", json.dumps({"sha": COMMIT}).encode()))


def test_a_branch_becomes_its_commit(hub: Server) -> None:
    model = parse_hub_model("hf:org/name@feature/x")
    assert pinned(model) == HubModel("org/name", COMMIT)
    assert hub.asked == [("/api/models/org/name/revision/feature%2Fx", f"Bearer {TOKEN}")]


def test_a_commit_is_not_asked_for(hub: Server) -> None:
    assert pinned(HubModel("org/name", COMMIT)).revision == COMMIT
    assert hub.asked == []


def test_the_token_does_not_follow_to_another_host(hub: Server, other: Server) -> None:
    hub.location = other.address
    assert pinned(HubModel("org/name", "main")).revision == COMMIT
    assert [token for _, token in hub.asked] == [f"Bearer {TOKEN}"]
    assert [token for _, token in other.asked] == [None]


@pytest.mark.parametrize(
    "revision",
    ["../../../any/path", "a branch", "a..b", "a\nb", "-x", "a//b", "a?b=c", "a#b", "é", "x" * 300],
)
def test_what_is_no_revision_is_never_asked_for(hub: Server, revision: str) -> None:
    with pytest.raises(ValueError, match="is no commit, tag or branch"):
        parse_hub_model(f"hf:org/name@{revision}")
    assert hub.asked == []


@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/3", "feature/a+b", "2024-01_x"])
def test_what_git_takes_is_a_revision(revision: str) -> None:
    assert parse_hub_model(f"hf:org/name@{revision}").revision == revision


@pytest.mark.parametrize(
    "body",
    [
        b'{"sha": null}',
        b'{"sha": "../../../x"}',
        b'{"sha": ["' + COMMIT.encode() + b'"]}',
        b'{"sha": "' + COMMIT.upper().encode() + b'"}',
        b"{}",
        b"[]",
        b"null",
        b"",
        b"\xff",
        b"[" * 200_000,
    ],
)
def test_an_answer_that_names_no_commit_is_refused(hub: Server, body: bytes) -> None:
    hub.body = body
    with pytest.raises(EnvironmentUnable, match="cannot ask the hub which commit 'main'") as caught:
        pinned(HubModel("org/name", "main"))
    assert len(str(caught.value)) < 400


def test_what_it_does_not_have_is_said(hub: Server) -> None:
    hub.status = 404
    with pytest.raises(EnvironmentUnable, match="at revision 'main' \\(HTTP 404\\)"):
        pinned(HubModel("org/name", "main"))


def test_no_secret_is_in_a_message(hub: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}\n")  # as a file holds it
    assert pinned(HubModel("org/name", "main")).revision == COMMIT
    assert hub.asked[-1][1] == f"Bearer {TOKEN}"
    assert hub_environment()["HF_TOKEN"] == TOKEN

    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}\nmore")
    for use in (lambda: pinned(HubModel("org/name", "main")), hub_environment):
        with pytest.raises(EnvironmentUnable) as refused:
            use()
        assert TOKEN not in str(refused.value)

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_ENDPOINT", "http://me:password@127.0.0.1:9")
    with pytest.raises(EnvironmentUnable) as unreachable:
        pinned(HubModel("org/name", "main"))
    assert "password" not in str(unreachable.value)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("scheme", ["socks5h", "socks5", "socks4", "SOCKS5"])
def test_a_proxy_that_speaks_socks_is_refused_before_anything_is_asked(
    hub: Server, monkeypatch: pytest.MonkeyPatch, name: str, scheme: str
) -> None:
    for other in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, f"{scheme}://me:{TOKEN}@127.0.0.1:9")
    for use in (lambda: pinned(HubModel("org/name", "main")), hub_environment):
        with pytest.raises(ConfigError, match=f"^{name.upper()}: a SOCKS proxy") as refused:
            use()
        assert refused.value.exit_code == 2
        assert TOKEN not in str(refused.value)
    assert hub.asked == []
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert pinned(HubModel("org/name", "main")).revision == COMMIT


@pytest.mark.parametrize("value", ["", " ", "\n"])
def test_empty_variables_are_as_if_they_were_not_set(
    hub: Server, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", value)
    assert pinned(parse_hub_model("hf:org/name")).revision == COMMIT
    assert [token for _, token in hub.asked] == [None]
    monkeypatch.setenv("HF_ENDPOINT", value)
    # The hub of the whole world then, by a proxy that this test has.
    monkeypatch.setenv("HTTPS_PROXY", hub.address)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(EnvironmentUnable, match=r"huggingface\.co"):
        pinned(parse_hub_model("hf:org/name"))


@pytest.mark.parametrize(
    ("value", "offline"),
    [
        *((value, True) for value in ("1", "yes", "ON", "TRUE")),
        *((value, False) for value in ("0", "", "no")),
    ],
)
def test_what_counts_as_offline_is_what_counts_for_hugging_face(
    hub: Server, monkeypatch: pytest.MonkeyPatch, value: str, offline: bool
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    with pytest.raises(EnvironmentUnable, match="is set") if offline else nullcontext():
        pinned(parse_hub_model("hf:org/name"))
    assert bool(hub.asked) is not offline


def test_a_proxy_is_asked_and_its_password_is_told_nobody(
    hub: Server, other: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    proxy = other.address.replace("//", "//me:secret-of-the-proxy@")
    monkeypatch.setenv("HTTP_PROXY", proxy)
    monkeypatch.setenv("http_proxy", proxy)
    assert pinned(parse_hub_model("hf:org/name")).revision == COMMIT
    assert [path for path, _ in other.asked] == [
        "http://hub.invalid/api/models/org/name/revision/main"
    ]
    gone = "http://me:secret-of-the-proxy@127.0.0.1:9"
    monkeypatch.setenv("HTTP_PROXY", gone)
    monkeypatch.setenv("http_proxy", gone)
    with pytest.raises(EnvironmentUnable) as refused:
        pinned(parse_hub_model("hf:org/name"))
    assert "secret-of-the-proxy" not in str(refused.value)
    assert hub.asked == []


def test_a_netrc_does_not_take_the_place_of_the_token(
    hub: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password of-netrc\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert pinned(parse_hub_model("hf:org/name")).revision == COMMIT
    assert [token for _, token in hub.asked] == [f"Bearer {TOKEN}"]


@pytest.mark.usefixtures("hub")
def test_a_private_authority_is_trusted_where_it_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *(program("certificate", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes"),
            *("-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    for server in serve(Server("127.0.0.1", json.dumps({"sha": COMMIT}).encode()), context):
        monkeypatch.setenv("HF_ENDPOINT", server.address.replace("http:", "https:"))
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(EnvironmentUnable, match=r"(?i)certificate"):
            pinned(parse_hub_model("hf:org/name"))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert pinned(parse_hub_model("hf:org/name")).revision == COMMIT
        assert server.asked[-1][1] == f"Bearer {TOKEN}"


def test_offline_asks_nobody(hub: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EnvironmentUnable, match="HF_HUB_OFFLINE is set") as refused:
        pinned(parse_hub_model("hf:org/name"))
    assert "name a commit" in refused.value.hint
    assert pinned(parse_hub_model(f"hf:org/name@{COMMIT}")).revision == COMMIT
    assert not hub.asked
    assert hub_environment()["HF_HUB_OFFLINE"] == "1"
