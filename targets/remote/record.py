"""What a shared cache says of a finished step: its result, in a DSSE envelope, signed or not.

In the store::

    results/<k[:2]>/<key>.json    the envelope, written last
    blobs/<s[:2]>/<sha256>        the bytes of files of outputs, under their digest

A record is input from strangers: what it says is checked here, and what it names when it arrives.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from pipeline.contract.file_digest import FileDigest
from pipeline.contract.frozen import Frozen
from pipeline.contract.result import StepResult

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

    from targets.signatures.signing import Trusted

LARGEST = 1 << 28
"""Largest record that is read, in bytes."""
RESULTS, BLOBS = "results", "blobs"

_PAYLOAD_TYPE = "application/vnd.quern.step-result+json"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DEEPEST = 32


class Record(Frozen):
    """A finished step, and whether its output is in the shared cache."""

    schema_version: Literal[1] = 1
    result: StepResult
    output: bool
    """Whether the files of its output are there. Merged checkpoints, for example, are not."""


class Came(Frozen):
    """What the cache of this machine notes of a result that came from a shared one."""

    remote: str
    """Address of the shared cache."""
    record: str
    """The envelope, as it was there."""


class RecordRefused(Exception):
    """A record is not used; the message says why."""


def result_path(key: str) -> str:
    """Return where the record of the step ``key`` is stored."""
    return f"{RESULTS}/{key[:2]}/{key}.json"


def blob_path(sha256: str) -> str:
    """Return where the bytes with this digest are stored."""
    return f"{BLOBS}/{sha256[:2]}/{sha256}"


def write_record(record: Record, signer: Signer | None) -> bytes:
    """Return ``record`` in an envelope, signed if there is a ``signer``."""
    from securesystemslib.dsse import Envelope

    from targets.signatures.envelope import write_envelope
    from targets.signatures.signing import sign

    envelope = Envelope(record.model_dump_json().encode(), _PAYLOAD_TYPE, {})
    if signer is not None:
        sign(envelope, signer)
    return write_envelope(envelope)


def read_record(content: bytes, key: str, trusted: Iterable[Trusted]) -> Record:
    """Return the record of the step ``key`` in ``content``, signed by one of ``trusted`` if there
    are any. Raises ``RecordRefused``."""
    from targets.signatures.envelope import parse_envelope
    from targets.signatures.signing import is_signed_by

    envelope = parse_envelope(content, _PAYLOAD_TYPE)
    if envelope is None:
        raise RecordRefused("it is damaged")
    keys = list(trusted)
    if keys and not any(is_signed_by(envelope, one.key) for one in keys):
        by = ", ".join(one.described for one in keys)
        signed = "is signed by somebody else, and not" if envelope.signatures else "is not signed"
        raise RecordRefused(f"it {signed} by {by}")
    try:
        record = Record.model_validate_json(envelope.payload)
    except (ValidationError, ValueError):
        raise RecordRefused("it is damaged, or of another version of Quern") from None
    if record.result.key != key:
        raise RecordRefused("it is that of another step")
    if record.result.provisional or any(v.status == "failed" for v in record.result.verdicts):
        raise RecordRefused("it is not one that other builds may take")
    require_plain(record.result)
    return record


def require_plain(result: StepResult) -> None:
    """Raise ``RecordRefused`` if ``result`` lists what no step writes."""
    wrong = next((file for file in result.files if not _is_plain(file)), None)
    if wrong is not None:
        raise RecordRefused(f"it lists a file that no step writes: {wrong.path!r}")
    if len({file.path for file in result.files}) < len(result.files):
        raise RecordRefused("it lists a file twice")


def _is_plain(file: FileDigest) -> bool:
    """Return whether a file lies below the output, with a size and a digest."""
    path = PurePosixPath(file.path)
    return (
        file.path.isprintable()
        and str(path) == file.path != "."
        and not path.is_absolute()
        and ".." not in path.parts
        and "\\" not in file.path
        and len(path.parts) <= _DEEPEST
        and all(len(part.encode()) <= 255 for part in path.parts)
        and file.bytes >= 0
        and _SHA256.fullmatch(file.sha256) is not None
    )
