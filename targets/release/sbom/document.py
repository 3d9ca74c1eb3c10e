"""The JSON of a CycloneDX document, with the same bytes for the same content."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from cyclonedx.model.bom import Bom
from cyclonedx.output.json import JsonV1Dot6

_SERIALS = UUID("5f1ae5c6-3c0d-5b0e-9d0c-6b4f0b6a4c11")
"""Namespace of the serial numbers of Quern's documents."""


def content_of(bom: Bom, time: datetime | None) -> dict[str, Any]:
    """Return ``bom`` as CycloneDX 1.6 in JSON, which more tools read than 1.7, with only ``time``.

    The library puts the time of now and a random serial number into every document.
    """
    content: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    del content["serialNumber"]
    if time is None:
        del content["metadata"]["timestamp"]
    return content


def document(content: dict[str, Any]) -> bytes:
    """Return the document with ``content``, and a serial number that follows from it."""
    rest = dict(content)
    serial = uuid5(_SERIALS, json.dumps(rest, sort_keys=True))
    head = {name: rest.pop(name) for name in ("$schema", "bomFormat", "specVersion")}
    whole = {**head, "serialNumber": serial.urn, "version": rest.pop("version"), **rest}
    return (json.dumps(whole, indent=2, ensure_ascii=False) + "\n").encode()
