"""Removes the credentials of package indexes from messages and files."""

from __future__ import annotations

import re

_USER_INFO = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^/\s@]+@", re.IGNORECASE)


def scrub(text: str) -> str:
    """Return ``text`` with the user and password of every URL replaced by ``***``."""
    return _USER_INFO.sub(r"\g<scheme>***@", text)
