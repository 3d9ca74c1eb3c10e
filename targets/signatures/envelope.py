"""DSSE envelopes: of a release's ``provenance.intoto.jsonl``, and of results in a shared cache.

https://github.com/secure-systems-lab/dsse/blob/master/envelope.md. It is written with the members
of the standard alone, and read as the standard has it: however the JSON is laid out, with any
number of signatures, with or without the names of their keys.
"""

from __future__ import annotations

import json
from pathlib import Path

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import FormatError
from securesystemslib.signer import Signature

from pipeline.reading.files import decoded
from pipeline.reading.json_text import parse_json
from targets.errors import CheckFailed

PAYLOAD_TYPE = "application/vnd.in-toto+json"


def write_envelope(envelope: Envelope) -> bytes:
    """Return the envelope as one line, including the newline."""
    return (json.dumps(envelope.to_dict(), sort_keys=True, separators=(",", ":")) + "\n").encode()


def read_envelope(content: bytes, file: Path) -> Envelope:
    """Return the envelope in ``content``, its signatures by their number; ``file`` is only for
    messages.

    Raises ``CheckFailed`` if it is none.
    """
    envelope = parse_envelope(content, PAYLOAD_TYPE)
    if envelope is not None:
        return envelope
    raise CheckFailed(
        f"{file} is not as it was written",
        "copy the release again; if it is no accident, trust nothing of it",
    )


def parse_envelope(content: bytes, payload_type: str) -> Envelope | None:
    """Return the envelope in ``content``; ``None`` if it is none of a ``payload_type``."""
    try:
        members = parse_json(decoded(content))
        signatures = members.pop("signatures")
        envelope = Envelope.from_dict({**members, "signatures": []})
        for signature in signatures:
            add_signature(envelope, _signature(signature))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, FormatError):
        return None
    return envelope if envelope.payload_type == payload_type else None


def add_signature(envelope: Envelope, signature: Signature) -> None:
    """Add a signature. Several may name the same key, or none, so they are held by number."""
    envelope.signatures[str(len(envelope.signatures))] = signature


def _signature(members: dict[str, object]) -> Signature:
    """Return one signature; the name of its key is optional in the standard."""
    one = {"keyid": "", **members}
    (read,) = Envelope.from_dict(
        {"payload": "", "payloadType": PAYLOAD_TYPE, "signatures": [one]}
    ).signatures.values()
    return read
