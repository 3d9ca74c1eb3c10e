"""The environment variables of a step's process: a few, never the host's whole environment."""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from targets.runtimes.runtime import RunRequest
from targets.toolchain.toolchain import Toolchain

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def process_environment(
    toolchain: Toolchain, request: RunRequest, *, home: str, code: str
) -> dict[str, str]:
    """Return the variables of one run. ``code`` is the folder that holds ``pipeline/``.

    Variables for the network are added by :func:`network_environment`.
    """
    return {
        **plain_environment(home, code),
        **_windows_needs(home),
        **(toolchain.environment if request.resources.portable else {}),
        **request.visible,
        **request.environment,
    }


def plain_environment(home: str, code: str) -> dict[str, str]:
    """Return the variables that every run has."""
    return {
        "HOME": home,
        "USER": "quern",  # the caller's uid has no name inside; getpass asks these first
        "LOGNAME": "quern",
        "LANG": "C.UTF-8",
        "PYTHONPATH": code,
        "PYTHONHASHSEED": "0",  # the order of sets, also in what a user's own step writes
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONNOUSERSITE": "1",
    }


def _windows_needs(home: str) -> dict[str, str]:
    """Return the variables that a process on Windows needs, with home and temporary folder."""
    if sys.platform != "win32":
        return {}
    system = {name: os.environ[name] for name in ("SYSTEMROOT", "COMSPEC") if name in os.environ}
    return {**system, "USERPROFILE": home, "TEMP": home, "TMP": home}


def network_environment(ca_bundle: str | None) -> dict[str, str]:
    """Return proxies and certificates of this machine, for a run with network."""
    names = (*_PROXIES, *(name.lower() for name in _PROXIES))
    variables = {name: value for name in names if (value := os.environ.get(name))}
    if ca_bundle is not None:
        variables.update(dict.fromkeys(_CA_VARIABLES, ca_bundle))
    return variables


def named_ca_bundle() -> Path | None:
    """Return the file with certificates to trust that a variable names."""
    return _first_file(os.environ.get(name) for name in _CA_VARIABLES)


def host_ca_bundle() -> Path | None:
    """Return the file with the certificates that this machine trusts, including private ones."""
    places = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
    return named_ca_bundle() or _first_file((ssl.get_default_verify_paths().cafile, *places))


def _first_file(candidates: Iterable[str | None]) -> Path | None:
    for candidate in candidates:
        if candidate and Path(candidate).is_file():
            return Path(candidate).resolve()
    return None


def proxy_on_this_machine(variables: Mapping[str, str]) -> bool:
    """Return whether a proxy listens only on this machine, out of reach for a bridged container."""
    hosts = {
        urlsplit(value if "//" in value else f"//{value}").hostname
        for name, value in variables.items()
        if name.upper() in _PROXIES and name.upper() != "NO_PROXY"
    }
    return bool(hosts & {"localhost", "127.0.0.1", "::1"})
