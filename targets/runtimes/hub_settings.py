"""The settings of the model hub in this process's environment: its address, its token."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from targets.errors import ConfigError, EnvironmentUnable, Problem

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
    :func:`hub_token` and :func:`require_usable_proxy`.
    """
    require_usable_proxy()
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


def require_usable_proxy() -> None:
    """Raise ``ConfigError`` if the hub would be asked through a SOCKS proxy: no toolchain has the
    library for one."""
    from urllib.request import getproxies, proxy_bypass

    try:
        address = urlsplit(hub_endpoint())
        proxies = getproxies()
        proxy = proxies.get(address.scheme) or proxies.get("all", "")
        is_socks = urlsplit(proxy).scheme.lower().startswith("socks")
        is_used = is_socks and not proxy_bypass(address.hostname or "")
    except ValueError:
        return  # no address: whoever asks will say so
    if is_used:
        name = f"{address.scheme}_PROXY" if address.scheme in proxies else "ALL_PROXY"
        problem = "a SOCKS proxy, through which the hub cannot be asked"
        advice = "name a proxy that speaks HTTP, or leave the hub out of it with NO_PROXY"
        raise ConfigError([Problem(problem, key=name.upper(), suggestion=advice)])


def hub_is_offline() -> bool:
    """Return whether the user wants no hub to be asked (``HF_HUB_OFFLINE``)."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in _TRUE
