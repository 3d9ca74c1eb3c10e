"""Files with the keys that sign a release."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509 import CertificateBuilder, Name, NameAttribute, random_serial_number
from cryptography.x509.oid import NameOID


def private_file(folder: Path, key: PrivateKeyTypes, password: bytes | None = None) -> Path:
    path = folder / "release.key"
    locked = BestAvailableEncryption(password) if password else NoEncryption()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))
    return path


def public_file(folder: Path, key: PrivateKeyTypes, name: str = "release.pub") -> Path:
    path = folder / name
    content = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    path.write_bytes(content)
    return path


def certificate_file(folder: Path, key: Ed25519PrivateKey, begins: int, ends: int) -> Path:
    """Write a certificate that is valid between two days from now."""
    now = datetime.now(timezone.utc)
    name = Name([NameAttribute(NameOID.COMMON_NAME, "Release team")])
    certificate = (
        CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(random_serial_number())
        .not_valid_before(now + timedelta(days=begins))
        .not_valid_after(now + timedelta(days=ends))
        .sign(key, None)
    )
    path = folder / "release.crt"
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    return path
