"""Signatures, keys and the envelope around a provenance."""

from __future__ import annotations

import base64
import json
import random
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner, SSlibKey
from sigstore_models.intoto import Envelope as SigstoreEnvelope

from targets.errors import CheckFailed, ConfigError
from targets.signatures.envelope import PAYLOAD_TYPE, read_envelope, write_envelope
from targets.signatures.signing import require_signature, sign, signer_of_file, trusted_file
from tests.support.capabilities import program
from tests.support.key_files import certificate_file, private_file, public_file

FILE = Path("provenance.intoto.jsonl")
PAYLOAD = b'{"_type":"https://in-toto.io/Statement/v1"}'


def signed(key_file: Path, password: str | None = None) -> Envelope:
    envelope = Envelope(PAYLOAD, PAYLOAD_TYPE, {})
    sign(envelope, signer_of_file(key_file, password))
    return envelope


KEYS: list[PrivateKeyTypes] = [
    ed25519.Ed25519PrivateKey.generate(),
    ec.generate_private_key(ec.SECP256R1()),
    rsa.generate_private_key(65537, 2048),
]


@pytest.mark.parametrize("key", KEYS, ids=["ed25519", "ecdsa", "rsa"])
def test_a_signature_is_verified_with_the_public_key_alone(
    key: PrivateKeyTypes, tmp_path: Path
) -> None:
    line = write_envelope(signed(private_file(tmp_path, key)))
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    envelope = read_envelope(line, FILE)
    assert envelope.payload == PAYLOAD
    require_signature(envelope, trusted_file(public_file(tmp_path, key)), FILE)


def test_an_encrypted_key_needs_its_password(tmp_path: Path) -> None:
    file = private_file(tmp_path, KEYS[0], b"right")
    assert signed(file, "right").signatures
    with pytest.raises(ConfigError, match=r"is encrypted.*QUERN_SIGN_PASSWORD"):
        signed(file)
    with pytest.raises(ConfigError, match=r"not a private key that can be used.*password"):
        signed(file, "wrong")
    with pytest.raises(ConfigError, match="needs no password"):
        signed(private_file(tmp_path, KEYS[0]), "right")


def test_what_is_no_key_is_said_with_what_to_do(tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("hello")
    with pytest.raises(ConfigError, match=r"not a private key.*openssl genpkey"):
        signer_of_file(other, None)
    with pytest.raises(ConfigError, match=r"not a public key or certificate.*openssl pkey"):
        trusted_file(other)
    with pytest.raises(ConfigError, match="is a private key"):
        trusted_file(private_file(tmp_path, KEYS[0]))
    with pytest.raises(ConfigError, match="cannot be read"):
        trusted_file(tmp_path / "nowhere.pub")


def test_a_key_that_cannot_sign_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    made = subprocess.run(
        [
            *(program("signed release", "openssl"), "genpkey", "-algorithm", "RSA"),
            *("-pkeyopt", "rsa_keygen_bits:512"),
        ],
        capture_output=True,
        check=True,
    )
    (tmp_path / "short.key").write_bytes(made.stdout)
    with pytest.raises(ConfigError, match=r"short\.key.*not a private key that can be used"):
        signer_of_file(tmp_path / "short.key", None)


def test_openssl_verifies_what_an_rsa_key_signed_without_an_option(tmp_path: Path) -> None:
    envelope = signed(private_file(tmp_path, KEYS[2]))
    (signature,) = envelope.signatures.values()
    (tmp_path / "signed").write_bytes(envelope.pae())
    (tmp_path / "sig").write_bytes(bytes.fromhex(signature.signature))
    openssl = (program("signed release", "openssl"), "pkeyutl", "-verify", "-pubin", "-rawin")
    files = ("-inkey", public_file(tmp_path, KEYS[2]), "-in", tmp_path / "signed")
    subprocess.run([*openssl, *files, "-sigfile", tmp_path / "sig"], check=True)


@pytest.mark.parametrize("scheme", ["rsa-pkcs1v15-sha256", "rsassa-pss-sha256"])
def test_an_rsa_key_may_have_signed_in_either_way(scheme: str, tmp_path: Path) -> None:
    private = KEYS[2]
    assert isinstance(private, rsa.RSAPrivateKey)
    envelope = Envelope(PAYLOAD, PAYLOAD_TYPE, {})
    public = SSlibKey.from_crypto(private.public_key(), scheme=scheme)
    sign(envelope, CryptoSigner(private, public))
    require_signature(envelope, trusted_file(public_file(tmp_path, private)), FILE)
    envelope.payload = PAYLOAD.replace(b"v1", b"v2")
    with pytest.raises(CheckFailed, match=r"signature of the key release.pub is wrong"):
        require_signature(envelope, trusted_file(public_file(tmp_path, private)), FILE)


def test_another_key_and_no_signature_are_refused(tmp_path: Path) -> None:
    envelope = signed(private_file(tmp_path, KEYS[0]))
    other = trusted_file(public_file(tmp_path, KEYS[1], "other.pub"))
    with pytest.raises(CheckFailed, match=r"not signed by the key other\.pub"):
        require_signature(envelope, other, FILE)
    with pytest.raises(CheckFailed, match="is not signed"):
        require_signature(Envelope(PAYLOAD, PAYLOAD_TYPE, {}), other, FILE)


def test_a_signature_is_of_one_payload(tmp_path: Path) -> None:
    envelope = signed(private_file(tmp_path, KEYS[0]))
    envelope.payload = PAYLOAD.replace(b"v1", b"v2")
    sealed = read_envelope(write_envelope(envelope), FILE)
    with pytest.raises(CheckFailed, match=r"signature of the key release.pub is wrong"):
        require_signature(sealed, trusted_file(public_file(tmp_path, KEYS[0])), FILE)


def test_a_certificate_counts_while_it_is_valid(tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    envelope = signed(private_file(tmp_path, key))
    trusted = trusted_file(certificate_file(tmp_path, key, -1, 1))
    require_signature(envelope, trusted, FILE)
    assert "CN=Release team" in trusted.described
    with pytest.raises(CheckFailed, match="expired on"):
        trusted_file(certificate_file(tmp_path, key, -9, -1))
    with pytest.raises(CheckFailed, match="is valid from"):
        trusted_file(certificate_file(tmp_path, key, 1, 9))


def test_no_flipped_bit_of_the_line_makes_it_say_something_else(tmp_path: Path) -> None:
    line = write_envelope(signed(private_file(tmp_path, KEYS[0])))
    trusted = trusted_file(public_file(tmp_path, KEYS[0]))
    chance = random.Random(0)  # noqa: S311 - not for secrets
    refused = 0
    for offset in range(len(line)):
        damaged = bytearray(line)
        damaged[offset] ^= 1 << chance.randrange(8)
        try:
            envelope = read_envelope(bytes(damaged), FILE)
            require_signature(envelope, trusted, FILE)
        except CheckFailed:
            refused += 1
        else:
            assert envelope.payload == PAYLOAD
    assert refused > len(line) / 2


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"[" * 100_000, b"\xff", b'{"payload": 1, "signatures": []}']
)
def test_what_is_no_envelope_is_refused(content: bytes) -> None:
    with pytest.raises(CheckFailed, match="not as it was written"):
        read_envelope(content, FILE)


def test_base64_may_be_that_of_urls(tmp_path: Path) -> None:
    """https://github.com/secure-systems-lab/dsse/blob/master/envelope.md: either is allowed."""
    envelope = Envelope(bytes(range(256)), PAYLOAD_TYPE, {})
    for number in range(20):  # until its signature has one of the signs that differ, and then some
        envelope.payload += bytes([number])
        envelope.signatures.clear()
        sign(envelope, signer_of_file(private_file(tmp_path, KEYS[0]), None))
        members = envelope.to_dict()
        (signature,) = members["signatures"]
        for place in (members, signature):
            for name in ("payload", "sig"):
                if name in place:
                    place[name] = place[name].replace("+", "-").replace("/", "_")
        read = read_envelope(json.dumps(members).encode(), FILE)
        assert read.payload == envelope.payload
        require_signature(read, trusted_file(public_file(tmp_path, KEYS[0])), FILE)


def test_readers_of_dsse_read_it(tmp_path: Path) -> None:
    members = json.loads(write_envelope(signed(private_file(tmp_path, KEYS[0]))))
    assert members["payloadType"] == "application/vnd.in-toto+json"
    assert base64.b64decode(members["payload"]) == PAYLOAD
    assert members.keys() == {"payload", "payloadType", "signatures"}
    assert [one.keys() for one in members["signatures"]] == [{"keyid", "sig"}]
    # sigstore's own model refuses any member that the standard does not have.
    strict = SigstoreEnvelope.from_json(json.dumps(members))
    assert strict.payload_type == "application/vnd.in-toto+json"
    assert Envelope.from_dict(members).payload == PAYLOAD
