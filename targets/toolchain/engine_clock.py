"""The clock of an engine's machine, which may be another than this one's: by it the engine notes
when things were made."""

from __future__ import annotations

import re
from datetime import datetime, timezone

from docker import DockerClient

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)?")


def engine_time(client: DockerClient) -> datetime:
    """Return the time as the engine has it."""
    said = client.info().get("SystemTime")
    return time_of(str(said)) if said else datetime.now(timezone.utc)


def time_of(text: str) -> datetime:
    """Return a time that an engine wrote: to the nanosecond or the second, in a zone or none."""
    found = _TIME.match(text)
    if found is None:
        raise ValueError(f"this is no time: {text}")
    zone = (found[2] or "Z").replace("Z", "+00:00")
    return datetime.fromisoformat(f"{found[1]}{zone}")
