"""Files with the keys that sign a release."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


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
