"""Stand-ins for what gives a machine, a job or a person the rights to a cloud."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@contextmanager
def answering(answer: object, certificate: Path | None = None) -> Iterator[tuple[int, list[str]]]:
    """Run a server that gives everybody ``answer``, a text or what becomes JSON; yield its port,
    and what is asked."""
    content = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

        def give(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            asked.append(f"{self.path} {self.rfile.read(length).decode()}")
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = give  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server.server_port, asked
    finally:
        server.shutdown()
        server.server_close()


def azure_token() -> str:
    """Return a token as Azure's directory gives it, which nobody has signed: Azurite looks only at
    what it says."""
    now = int(time.time())
    tenant = "00000000-0000-0000-0000-000000000001"
    said = {
        "aud": "https://storage.azure.com",
        "iss": f"https://sts.windows.net/{tenant}/",
        "iat": now - 60,
        "nbf": now - 60,
        "exp": now + 3600,
        "tid": tenant,
        "sub": "team",
    }
    parts = ({"alg": "HS256", "typ": "JWT"}, said)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts]
    return b".".join([*encoded, b"c2lnbmVk"]).decode()


def certificate_of_this_machine(folder: Path) -> Path:
    """Return a certificate for ``127.0.0.1``, with its key beside it, signed by ``ca.pem``."""
    authority, key = (
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP256R1()),
    )
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    host = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    addresses = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    signed = _signed(issuer, issuer, authority, authority, x509.BasicConstraints(True, None))
    (folder / "ca.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    leaf = _signed(host, issuer, key, authority, addresses)
    file = folder / "server.pem"
    file.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    file.with_suffix(".key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return file


def _signed(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    authority: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(extension, critical=True)
        .sign(authority, hashes.SHA256())
    )
