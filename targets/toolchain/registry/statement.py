"""What somebody says of an image in a registry: that it was made by a recipe, in a DSSE envelope.

It lies in the registry beside the image, as the label of an empty image whose tag is the digest of
the one it speaks of. So whatever the engine needs to reach a registry serves for it as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from pipeline.contract.frozen import Frozen
from targets.toolchain.registry.expected import ExpectedImage

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

    from targets.signatures.signing import Trusted

LABEL = "quern.statement"
"""Label of the empty image that holds the envelope."""

_PAYLOAD_TYPE = "application/vnd.quern.toolchain-image+json"


class ImageStatement(Frozen):
    """An image, and the recipe that it was made by."""

    schema_version: Literal[1] = 1
    target: str
    platform: str
    recipe: str
    image: str
    """Digest of its manifest: ``sha256:…``."""


def statement_tag(digest: str) -> str:
    """Return the tag of the statement about the image with this digest."""
    return f"{digest.replace(':', '-')}.dsse"


def write_statement(expected: ExpectedImage, digest: str, signer: Signer) -> str:
    """Return the signed envelope that says that ``digest`` is the image of ``expected``."""
    from securesystemslib.dsse import Envelope

    from targets.signatures.envelope import write_envelope
    from targets.signatures.signing import sign

    payload = _statement(expected, digest).model_dump_json().encode()
    envelope = Envelope(payload, _PAYLOAD_TYPE, {})
    sign(envelope, signer)
    return write_envelope(envelope).decode().strip()


def refusal(content: str, expected: ExpectedImage, digest: str, trusted: Iterable[Trusted]) -> str:
    """Return why the envelope ``content`` does not prove that ``digest`` is the image of
    ``expected``; empty if one of ``trusted`` says so."""
    from targets.signatures.envelope import parse_envelope
    from targets.signatures.signing import is_signed_by

    envelope = parse_envelope(content.encode(), _PAYLOAD_TYPE)
    if envelope is None:
        return "what says who signed it is damaged"
    keys = list(trusted)
    if not any(is_signed_by(envelope, one.key) for one in keys):
        return f"it is not signed by {', '.join(one.described for one in keys)}"
    try:
        said = ImageStatement.model_validate_json(envelope.payload)
    except ValidationError:
        return "what was signed is of another version of Quern"
    if said != _statement(expected, digest):
        return "what was signed is another image"
    return ""


def _statement(expected: ExpectedImage, digest: str) -> ImageStatement:
    return ImageStatement(
        target=expected.target, platform=expected.platform, recipe=expected.recipe, image=digest
    )
