"""Calls the pinned uv with the user's pip configuration, which uv itself does not read."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Mapping

from targets.toolchain.run_tool import run_tool

_PIP_TO_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
    "trusted-host": "UV_INSECURE_HOST",
}
_SEPARATOR = {"find-links": ","}
"""uv's separators of several values; a space for all others."""


def uv(*arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Run uv and return its standard output. Raises as :func:`run_tool` does.

    The user's uv configuration is ignored, so that a call does the same on every machine.
    """
    return run_tool(
        [sys.executable, "-m", "uv", *arguments, "--no-config"],
        tool="uv",
        environment={**_without_uv_settings(), **(environment or {})},
    )


def _without_uv_settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("UV_")}


def index_environment() -> dict[str, str]:
    """Return uv's variables for the indexes, links and certificates that pip is configured with."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    return uv_settings(listing)


def uv_settings(pip_config_list: str) -> dict[str, str]:
    """Translate the output of ``pip config list`` (``section.key='value'``) for uv.

    Later sources win, as in pip: ``global``, then ``install``/``download``, then ``:env:``.
    """
    order = {"global": 0, "install": 1, "download": 1, ":env:": 2}
    settings: dict[str, tuple[int, str]] = {}
    for line in pip_config_list.splitlines():
        name, _, quoted = line.partition("=")
        section, _, key = name.partition(".")
        rank = order.get(section)
        if rank is None or key not in _PIP_TO_UV:
            continue
        if key not in settings or rank >= settings[key][0]:
            settings[key] = (rank, str(ast.literal_eval(quoted)))
    return {
        _PIP_TO_UV[key]: _SEPARATOR.get(key, " ").join(value.split())
        for key, (_, value) in settings.items()
    }
