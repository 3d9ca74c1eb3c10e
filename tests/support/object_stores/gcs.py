"""A stand-in for Google Cloud Storage: what its XML API has beyond that of S3, before moto.

Google documents its XML API as one that programs written for S3 can use. What differs, as far as
the library of a shared cache uses it, is here: a token that the key of a service account has signed
gives rights, each object has a generation, and a write may be bound to the one that it replaces
(``x-goog-if-generation-match``; 0 is none). No emulator that can be installed here does that:
fake-gcs-server refuses these writes, and gcp-storage-emulator heeds no condition and lists nothing.
"""

from __future__ import annotations

import base64
import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.support.object_stores.moto import moto
from tests.support.object_stores.server import ObjectServer

_NOBODY = "Credential=nobody/20260101/us-east-1/s3/aws4_request"
_FOR_MOTO = f"AWS4-HMAC-SHA256 {_NOBODY}, SignedHeaders=host, Signature=0"
_HOP = {"connection", "content-length", "host", "transfer-encoding"}
_REFUSED = "<?xml version='1.0'?><Error><Code>{}</Code><Message>{}</Message></Error>"


@contextmanager
def gcs(packages: Path, folder: Path) -> Iterator[ObjectServer]:
    """Run it, in front of a moto whose packages are kept in ``packages``."""
    folder.mkdir(parents=True, exist_ok=True)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    account = write_account(folder / "account.json", key)
    with moto(packages, folder) as behind:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(behind.port, key.public_key()))
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        environment = {
            "GOOGLE_BASE_URL": f"http://127.0.0.1:{server.server_port}",
            "GOOGLE_APPLICATION_CREDENTIALS": str(account),
        }
        try:
            yield ObjectServer("gs://team", server.server_port, environment, folder)
        finally:
            server.shutdown()
            server.server_close()


def write_account(file: Path, key: rsa.RSAPrivateKey | None = None) -> Path:
    """Write the file of a service account with ``key``, or with one that nobody knows."""
    key = key or rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoded = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    account = {
        "type": "service_account",
        "client_email": "ci@team.iam.gserviceaccount.com",
        "private_key_id": "of-the-test",
        "private_key": encoded.decode(),
    }
    file.write_text(json.dumps(account))
    return file


def _handler(port: int, key: rsa.RSAPublicKey) -> type[BaseHTTPRequestHandler]:
    """Return what answers, with a moto that listens at ``port`` and the key of who may ask."""
    generations: dict[str, int] = {}
    numbers = itertools.count(1_700_000_000_000_000)
    writing = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

        def handle_one(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if not _is_signed(self.headers.get("Authorization", ""), key):
                self._refuse(401, "AuthenticationRequired", "no valid token")
                return
            parts = urlsplit(self.path)
            asked = parse_qs(parts.query, keep_blank_values=True)
            makes = (self.command == "PUT" and "partNumber" not in asked) or (
                self.command == "POST" and "uploadId" in asked
            )
            if not makes and self.command != "DELETE":
                self._forward(content)
                return
            with writing:
                expected = self.headers.get("x-goog-if-generation-match")
                if expected not in (None, str(generations.get(parts.path, 0))):
                    self._refuse(412, "PreconditionFailed", "another generation is there")
                    return
                if makes:
                    generations[parts.path] = next(numbers)
                elif "uploadId" not in asked:
                    generations.pop(parts.path, None)
                self._forward(content)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_one  # noqa: N815

        def _forward(self, content: bytes) -> None:
            connection = HTTPConnection("127.0.0.1", port)
            connection.putrequest(self.command, self.path, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _HOP | {"authorization"} and not name.startswith("x-goog"):
                    connection.putheader(name, value)
            connection.putheader("Authorization", _FOR_MOTO)
            connection.putheader("Content-Length", str(len(content)))
            connection.endheaders(content)
            answer = connection.getresponse()
            body = answer.read()
            headers = dict(answer.getheaders())
            connection.close()
            generation = generations.get(urlsplit(self.path).path)
            if generation is not None and answer.status < 400:
                headers["x-goog-generation"] = str(generation)
            self._answer(answer.status, headers, body)

        def _refuse(self, status: int, code: str, message: str) -> None:
            headers = {"Content-Type": "application/xml"}
            self._answer(status, headers, _REFUSED.format(code, message).encode())

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response_only(status)
            of_head = next(
                (value for name, value in headers.items() if name.lower() == "content-length"), "0"
            )
            for name, value in headers.items():
                if name.lower() not in _HOP:
                    self.send_header(name, value)
            is_head = self.command == "HEAD"
            self.send_header("Content-Length", of_head if is_head else str(len(body)))
            self.end_headers()
            if not is_head:
                self.wfile.write(body)

    return Handler


def _is_signed(header: str, key: rsa.RSAPublicKey) -> bool:
    """Return whether the header has a token (RFC 7515) that the private half of ``key`` signed."""
    signed, _, signature = header.removeprefix("Bearer ").rpartition(".")
    try:
        decoded = base64.urlsafe_b64decode(f"{signature}==")
        key.verify(decoded, signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True
