"""``provenance.intoto.jsonl``: one DSSE envelope on one line, signed or not.

https://github.com/secure-systems-lab/dsse/blob/master/envelope.md. An additional member,
``sha256``, is the digest of all others, so that damage is detected without a signature too. Readers
of DSSE ignore unknown members.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import FormatError

from pipeline.contract.sha256 import sha256_of_bytes
from pipeline.reading.files import decoded
from pipeline.reading.json_text import parse_json
from targets.errors import CheckFailed

PAYLOAD_TYPE = "application/vnd.in-toto+json"

_CHECKSUM = "sha256"


def write_envelope(envelope: Envelope) -> bytes:
    """Return the envelope as one line, including the newline."""
    members = envelope.to_dict()
    return _line({**members, _CHECKSUM: _checksum(members)})


def read_envelope(content: bytes, file: Path) -> Envelope:
    """Return the envelope in ``content``; ``file`` is only for messages.

    Raises ``CheckFailed`` if it is damaged.
    """
    try:
        members: dict[str, Any] = parse_json(decoded(content))
        checksum = members.pop(_CHECKSUM)
        is_intact = checksum == _checksum(members)
        envelope = Envelope.from_dict(json.loads(json.dumps(members)))
        if (
            is_intact
            and write_envelope(envelope) == content
            and envelope.payload_type == PAYLOAD_TYPE
        ):
            return envelope
    except (ValueError, KeyError, TypeError, AttributeError, FormatError):
        pass
    raise CheckFailed(
        f"{file} is not as it was written",
        "copy the release again; if it is no accident, trust nothing of it",
    )


def _checksum(members: dict[str, Any]) -> str:
    return sha256_of_bytes(_line(members))


def _line(members: dict[str, Any]) -> bytes:
    return (json.dumps(members, sort_keys=True, separators=(",", ":")) + "\n").encode()
