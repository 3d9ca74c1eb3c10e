"""The settings of the model hub in this process's environment: its address, its token."""

from __future__ import annotations

import os
import re

from targets.errors import EnvironmentUnable

_HUB = (
    "HF_TOKEN",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "HF_HUB_DOWNLOAD_TIMEOUT",
    "HF_HUB_ETAG_TIMEOUT",
)
_HUB_ADDRESS = "https://huggingface.co"
_TRUE = ("1", "on", "true", "yes")
"""Values that huggingface_hub takes for true."""


def hub_environment() -> dict[str, str]:
    """Return the token and the settings of the hub, for a run that fetches from it.

    The address can contain a password, so it is treated like the token. Raises as
    :func:`hub_token`.
    """
    variables = {name: value for name in _HUB if (value := os.environ.get(name, "").strip())}
    token = hub_token()
    return {**variables, "HF_TOKEN": token} if token else variables


def hub_token() -> str:
    """Return the hub's token; empty if there is none. A line break at its end is left out, as of
    one that was read from a file.

    Raises ``EnvironmentUnable`` for what cannot be sent: libraries that refuse it would show it.
    """
    token = os.environ.get("HF_TOKEN", "").strip()
    if not re.fullmatch(r"[!-~]*", token):
        raise EnvironmentUnable(
            "HF_TOKEN holds spaces, line breaks or other characters that no token has",
            "set it to the token alone",
        )
    return token


def hub_endpoint() -> str:
    """Return the address of the hub: ``HF_ENDPOINT``, where that is more than blanks."""
    return (os.environ.get("HF_ENDPOINT", "").strip() or _HUB_ADDRESS).rstrip("/")


def hub_is_offline() -> bool:
    """Return whether the user wants no hub to be asked (``HF_HUB_OFFLINE``)."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in _TRUE
