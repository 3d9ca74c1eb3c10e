"""Signatures of a release: with a key file, or with an identity through sigstore.

Key files are PEM: a private key in PKCS #8 (Ed25519, ECDSA, RSA) signs; a public key, or an X.509
certificate with one, verifies without network. A given certificate is trusted; only its dates are
checked against the clock.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import Error as SignatureError
from securesystemslib.signer import (
    CryptoSigner,
    Key,
    Signature,
    Signer,
    SigstoreKey,
    SigstoreSigner,
    SSlibKey,
)

from targets.errors import CheckFailed, ConfigError, EnvironmentUnable, Problem
from targets.signatures.envelope import add_signature

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_RSA = "rsa"
_RSA_SCHEMES = ("rsa-pkcs1v15-sha256", "rsassa-pss-sha256")
"""Ways to sign with an RSA key. Signed is by the first, which OpenSSL and cosign take unasked;
securesystemslib takes the second."""
_SHORTEST_RSA = 2048
"""Bits of an RSA key, as NIST asks for (SP 800-131A) and cosign does."""
_LARGEST = 1 << 20
"""Most bytes of a file with a key or a certificate."""
_MAKE_KEY = "make one with `openssl genpkey -algorithm ed25519 -out release.key`"
_MAKE_PUBLIC = "make it with `openssl pkey -in release.key -pubout -out release.pub`"


@dataclass(frozen=True)
class Trusted:
    """The required signer: a key or identity, and its description."""

    key: Key
    described: str


def signer_of_file(file: Path, password: str | None) -> Signer:
    """Return the signer with the private key in ``file``. Raises ``ConfigError``."""
    content = _read(file, _MAKE_KEY)
    try:
        secret = password.encode() if password is not None else None
        signer = _signer(load_pem_private_key(content, secret))
        signer.sign(b"")  # a key that cannot sign shows here, and not after hours of building
        return signer
    except TypeError:
        problem, advice = (
            ("needs no password", "unset QUERN_SIGN_PASSWORD")
            if password is not None
            else ("is encrypted", "set its password as QUERN_SIGN_PASSWORD")
        )
    except (ValueError, UnsupportedAlgorithm) as error:
        problem = f"is not a private key that can be used: {error}"
        advice = f"check the password in QUERN_SIGN_PASSWORD, or {_MAKE_KEY}"
        advice = advice if password is not None else _MAKE_KEY
    raise ConfigError([Problem(problem, file, suggestion=advice)])


def sigstore_signer(identity: str, issuer: str) -> Signer:
    """Return a signer with the user's identity: by a token of the CI or, on a terminal, a browser.

    Raises ``EnvironmentUnable`` if sigstore cannot be reached or returns no identity.
    """
    key = _sigstore_key(identity, issuer)
    for uri in ("sigstore:", "sigstore:?ambient=false"):
        try:
            return SigstoreSigner.from_priv_key_uri(uri, key)
        except RuntimeError:
            continue  # no token of a CI here
        except Exception as error:
            raise _no_sigstore(error) from None
    raise _no_sigstore("no identity was given")


def sign(envelope: Envelope, signer: Signer) -> None:
    """Add a signature of ``signer`` to ``envelope``. Raises ``EnvironmentUnable``."""
    try:
        signature = signer.sign(envelope.pae())
    except Exception as error:
        raise _no_sigstore(error) from None
    if isinstance(signer, SigstoreSigner):
        # sigstore returns base64, but an envelope holds hexadecimal digits.
        value = base64.b64decode(signature.signature).hex()
        signature = Signature(signature.keyid, value, signature.unrecognized_fields)
    add_signature(envelope, signature)


def trusted_file(file: Path, now: datetime | None = None) -> Trusted:
    """Return the required signer with the public key, or certificate, in ``file``.

    Raises ``ConfigError`` for an invalid file, and ``CheckFailed`` for a certificate that is not
    valid ``now``.
    """
    content = _read(file, _MAKE_PUBLIC)
    try:
        if _CERTIFICATE not in content:
            key = SSlibKey.from_crypto(load_pem_public_key(content))
            return Trusted(key, f"the key {file.name}")
        certificate = load_pem_x509_certificate(content)
        key = SSlibKey.from_crypto(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm) as error:
        private = b"PRIVATE KEY" in content
        problem = "is a private key" if private else f"is not a public key or certificate: {error}"
        raise ConfigError([Problem(problem, file, suggestion=_MAKE_PUBLIC)]) from None
    now = now or datetime.now(timezone.utc)
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begins <= now <= ends:
        when = f"expired on {ends:%Y-%m-%d}" if now > ends else f"is valid from {begins:%Y-%m-%d}"
        raise CheckFailed(f"the certificate {file} {when}", "ask who released it for a valid one")
    return Trusted(key, f"the certificate {file.name}, {certificate.subject.rfc4514_string()}")


def trusted_identity(identity: str, issuer: str) -> Trusted:
    """Return the required signer with an ``identity`` that ``issuer`` confirms, by sigstore.

    Verifying needs sigstore's roots, which its library contains or fetches.
    """
    return Trusted(_sigstore_key(identity, issuer), f"{identity} ({issuer})")


def require_signature(envelope: Envelope, trusted: Trusted, file: Path) -> None:
    """Raise ``CheckFailed`` unless ``envelope`` has a valid signature of ``trusted``.

    The name of a signature's key is a hint at most: the key is tried on every one
    (https://github.com/secure-systems-lab/dsse/blob/master/protocol.md).
    """
    if not envelope.signatures:
        raise CheckFailed(f"{file} is not signed", "verify it without a key, or do not use it")
    if is_signed_by(envelope, trusted.key):
        return
    names = [signature.keyid for signature in envelope.signatures.values()]
    if any(key.keyid in names for key in _same_key(trusted.key)):
        raise CheckFailed(f"{file}: the signature of {trusted.described} is wrong")
    others = ", ".join(name[:12] or "a key without a name" for name in names)
    raise CheckFailed(
        f"{file} is not signed by {trusted.described} ({trusted.key.keyid[:12]}), but by {others}",
        "take the key from who released it, not from where the release lies",
    )


def is_signed_by(envelope: Envelope, key: Key) -> bool:
    """Return whether ``envelope`` has a valid signature of ``key``."""
    signatures = envelope.signatures.values()
    return any(_is_of(one, known, envelope) for known in _same_key(key) for one in signatures)


def _is_of(one: Signature, key: Key, envelope: Envelope) -> bool:
    # The library asks for the name of the key, which the standard leaves open.
    signature = Signature(key.keyid, one.signature, one.unrecognized_fields)
    try:
        key.verify_signature(signature, envelope.pae())
    except SignatureError:
        return False
    return True


def _signer(private: PrivateKeyTypes) -> Signer:
    scheme = None
    if isinstance(private, RSAPrivateKey):
        if private.key_size < _SHORTEST_RSA:
            raise ValueError(f"it has {private.key_size} bits, of at least {_SHORTEST_RSA}")
        scheme = _RSA_SCHEMES[0]
    return CryptoSigner(private, SSlibKey.from_crypto(private.public_key(), scheme=scheme))


def _same_key(key: Key) -> tuple[Key, ...]:
    """Return ``key``, in each way in which one may sign with it."""
    if not isinstance(key, SSlibKey) or key.keytype != _RSA:
        return (key,)
    public = load_pem_public_key(key.keyval["public"].encode())
    return tuple(SSlibKey.from_crypto(public, scheme=scheme) for scheme in _RSA_SCHEMES)


def _read(file: Path, advice: str) -> bytes:
    try:
        with file.open("rb") as stream:  # which may be a pipe, from a program that knows the key
            content = stream.read(_LARGEST + 1)
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
        raise ConfigError([Problem(problem, file, suggestion=advice)]) from None
    if len(content) > _LARGEST:
        problem = f"is no key: it has more than {_LARGEST:,} bytes"
        raise ConfigError([Problem(problem, file, suggestion=advice)])
    return content


def _sigstore_key(identity: str, issuer: str) -> SigstoreKey:
    _, key = SigstoreSigner.import_(identity, issuer)
    return key


def _no_sigstore(error: object) -> EnvironmentUnable:
    return EnvironmentUnable(
        f"cannot sign: {error}", "check that sigstore can be reached, or sign with --sign-key FILE"
    )
