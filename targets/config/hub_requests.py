"""Asks the Hugging Face hub: with the user's token, in bounded time and size."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

import requests
import urllib3
from requests.auth import AuthBase

from targets.runtimes.hub_settings import (
    hub_endpoint,
    hub_is_offline,
    hub_token,
    require_usable_proxy,
)

_TIMEOUT_SECONDS = 15
_LONGEST_ANSWER_SECONDS = 60
"""A hub, or what answers in its place, could send one byte now and then for ever."""
_CHUNK = 1 << 16
LARGEST_ANSWER = 1 << 26
"""Most bytes that are read of an answer: it lists the files of the repository."""
_TOTAL = re.compile(r"bytes 0-[0-9]+/([0-9]{1,15})")
_LENGTH = re.compile(r"[0-9]{1,15}")


class _Bearer(AuthBase):
    """Sends the token. As a mere header it would give way to a ``.netrc``."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the token to ``request``."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


@dataclass(frozen=True)
class HubAnswer:
    """What a hub sent of a file."""

    body: bytes
    total: int | None
    """Bytes of the whole file; ``None`` if the hub does not say."""


def ask_hub(path: str, limit: int = LARGEST_ANSWER) -> HubAnswer:
    """Return at most the first ``limit`` bytes of what the hub has under ``path``.

    The token goes to the host that is asked: requests leaves it behind where that one sends on to
    another. Raises the errors of requests, and as :func:`require_usable_proxy`.
    """
    if hub_is_offline():
        raise requests.ConnectionError("HF_HUB_OFFLINE is set")
    require_usable_proxy()
    token = hub_token()
    some = {"Range": f"bytes=0-{limit - 1}", "Accept-Encoding": "identity"}
    with requests.get(
        hub_endpoint() + path,
        headers=some if limit < LARGEST_ANSWER else {},
        auth=_Bearer(token) if token else None,
        timeout=_TIMEOUT_SECONDS,
        stream=True,
    ) as reply:
        reply.raise_for_status()
        ranged = _TOTAL.fullmatch(reply.headers.get("Content-Range", ""))
        length = _LENGTH.fullmatch(reply.headers.get("Content-Length", ""))
        total = ranged[1] if ranged else length[0] if length else None
        return HubAnswer(_beginning(reply, limit), None if total is None else int(total))


def _beginning(reply: requests.Response, limit: int) -> bytes:
    """Return the first ``limit`` bytes of an answer, for which nobody waits for ever."""
    body = bytearray()
    until = time.monotonic() + _LONGEST_ANSWER_SECONDS
    while len(body) < limit:
        try:
            chunk = reply.raw.read1(min(_CHUNK, limit - len(body)), decode_content=True)
        except urllib3.exceptions.HTTPError as error:
            raise requests.ConnectionError(f"its answer broke off: {error}") from error
        if not chunk:
            break
        body += chunk
        if time.monotonic() > until:
            raise ValueError(f"its answer took more than {_LONGEST_ANSWER_SECONDS} seconds")
    return bytes(body)
